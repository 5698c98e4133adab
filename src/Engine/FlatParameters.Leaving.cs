using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <content>Buffers that leave the device for a while.</content>
internal sealed partial class FlatParameters
{
    /// <summary>Gives up the use of buffers that are going to leave the device for a while; the model's parameters then read as NaN.</summary>
    /// <param name="masters">Whether the masters go.</param>
    /// <param name="weights">Whether the weights go.</param>
    /// <param name="gradients">Whether the gradients go.</param>
    /// <returns>The buffers to move, each the owner of its memory.</returns>
    public IEnumerable<Tensor> Leave(bool masters, bool weights, bool gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        for (int i = 0; i < Slots.Count && !IsPartitioned; i++)
        {
            if (weights)
            {
                Tensor nothing = full([], double.NaN, OwnWeights.dtype, Device).expand([.. Slots[i].Shape]);
                TensorMemory.SetData(_leaves[i], nothing);
            }

            if (gradients && _gradientAddresses.Length > 0)
            {
                _leaves[i].grad = null;
            }
        }

        List<Tensor> leaving = gradients ? [Gradients] : [];
        if (masters && HasMasters && _masters is not null)
        {
            leaving.Add(_masters);
        }

        if (weights && (_weights ?? (WeightShards as WeightShards)?.Values) is { } held)
        {
            leaving.Add(held);
        }

        return leaving;
    }

    /// <summary>Uses the buffers again that <see cref="Leave"/> gave up: they have memory again.</summary>
    public void Return()
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        for (int i = 0; i < Slots.Count && !IsPartitioned; i++)
        {
            TensorMemory.SetData(_leaves[i], View(Weights, Slots[i]));
            if (_gradientAddresses.Length > 0)
            {
                Tensor gradient = View(Gradients, Slots[i]);
                _leaves[i].grad = gradient;
                _gradientAddresses[i] = TensorMemory.Address(gradient);
            }
        }
    }
}
