using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>One parameter of the model and its place in the flat buffers.</summary>
/// <param name="Name">Its name in the model, as in a state dictionary.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">First element in the flat buffers.</param>
/// <param name="Elements">Number of elements.</param>
internal sealed record ParameterSlot(string Name, IReadOnlyList<long> Shape, long Offset, long Elements);

/// <summary>All trainable parameters in one fp32 buffer and all gradients in another; the model's own tensors are
/// views of them.</summary>
/// <remarks>
/// One buffer means one kernel per optimizer step, one norm, and collectives without copies. The views are made with
/// set_data, which keeps each parameter object, so tied weights stay tied and hooks stay in place.
/// </remarks>
internal sealed class FlatParameters : IDisposable
{
    // 128 bytes: vector loads and, later, NCCL want aligned starts.
    private const long AlignmentElements = 32;

    private readonly TorchSharp.Modules.Parameter[] _leaves;

    public FlatParameters(nn.Module model, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        var slots = new List<ParameterSlot>();
        var leaves = new List<TorchSharp.Modules.Parameter>();
        long end = 0;
        foreach ((string name, TorchSharp.Modules.Parameter leaf) in model.named_parameters().Where(p => p.parameter.requires_grad))
        {
            slots.Add(new ParameterSlot(name, leaf.shape, end, leaf.numel()));
            leaves.Add(leaf);
            end += (leaf.numel() + AlignmentElements - 1) / AlignmentElements * AlignmentElements;
        }

        if (slots.Count == 0)
        {
            throw new ArgumentException("the model has no trainable parameters; did its constructor call RegisterComponents()?", nameof(model));
        }

        (Slots, _leaves) = (slots, [.. leaves]);
        Values = zeros(end, float32, device).DetachFromDisposeScope();
        Gradients = zeros(end, float32, device).DetachFromDisposeScope();
        for (int i = 0; i < slots.Count; i++)
        {
            Tensor view = View(Values, slots[i]);
            view.copy_(leaves[i]);
            TensorMemory.SetData(leaves[i], view);
            leaves[i].grad = View(Gradients, slots[i]);
        }

        // The rest of the model follows to the device; set_data keeps these objects too.
        Constants = [.. model.named_parameters().Where(p => !p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter)),
            .. model.named_buffers().Select(b => (b.name, b.buffer))];
        foreach ((_, Tensor other) in Constants)
        {
            TensorMemory.SetData(other, other.to(device).contiguous());
        }
    }

    /// <summary>The parameters, in the model's order.</summary>
    public IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>[n] fp32: all parameters.</summary>
    public Tensor Values { get; }

    /// <summary>[n] fp32: all gradients, which backward adds to.</summary>
    public Tensor Gradients { get; }

    /// <summary>What the model has besides: frozen parameters and buffers, by name.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> Constants { get; }

    /// <summary>Makes sure that backward still adds to <see cref="Gradients"/>.</summary>
    /// <exception cref="InvalidOperationException">Somebody replaced a gradient, so nothing would be trained.</exception>
    public void CheckGradientViews()
    {
        foreach ((ParameterSlot slot, TorchSharp.Modules.Parameter leaf) in Slots.Zip(_leaves))
        {
            using Tensor? gradient = leaf.grad;
            using Tensor view = Gradients.narrow(0, slot.Offset, slot.Elements);
            if (gradient is null || TensorMemory.Address(gradient) != TensorMemory.Address(view))
            {
                throw new InvalidOperationException($"the gradient of {slot.Name} is not the engine's any more; remove "
                    + "zero_grad() and to() on the model, the engine clears gradients itself");
            }
        }
    }

    /// <summary>The leaf tensor of a slot.</summary>
    public Tensor Leaf(int index) => _leaves[index];

    /// <summary>A parameter's part of a flat buffer, in the parameter's shape. The caller disposes it.</summary>
    /// <param name="flat">A buffer laid out like <see cref="Values"/>.</param>
    /// <param name="slot">The parameter.</param>
    public static Tensor View(Tensor flat, ParameterSlot slot)
    {
        using Tensor range = flat.narrow(0, slot.Offset, slot.Elements);
        return range.view([.. slot.Shape]);
    }

    public void Dispose()
    {
        Values.Dispose();
        Gradients.Dispose();
    }
}
