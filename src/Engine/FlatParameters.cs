using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>One parameter of the model and its place in the flat buffers.</summary>
/// <param name="Name">Its name in the model, as in a state dictionary.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">First element in the flat buffers.</param>
/// <param name="Elements">Number of elements.</param>
internal sealed record ParameterSlot(string Name, IReadOnlyList<long> Shape, long Offset, long Elements);

/// <summary>All trainable parameters in one buffer and all gradients in another; the model's own tensors are views of
/// them.</summary>
/// <remarks>
/// One buffer means one kernel per optimizer step, one norm, and collectives without copies. Groups of the optimizer
/// follow each other, so each is one range. The views are made with set_data, which keeps each parameter object, so
/// tied weights stay tied and hooks stay in place; it also changes the element type, unlike <c>module.to</c>, which
/// would replace the objects.
/// </remarks>
internal sealed class FlatParameters : IDisposable
{
    // 128 bytes of fp32: vector loads and NCCL want aligned starts.
    private const long AlignmentElements = 32;

    private readonly TorchSharp.Modules.Parameter[] _leaves;
    private readonly nint[] _gradientAddresses;

    /// <param name="model">The model; its parameters and buffers move to the device.</param>
    /// <param name="device">Where to train.</param>
    /// <param name="precision">Element types.</param>
    /// <param name="groups">Decides the groups from names and shapes; null means one group without an optimizer's numbers.</param>
    public FlatParameters(nn.Module model, Device device, PrecisionPlan precision,
        Func<IReadOnlyList<(string Name, long[] Shape)>, IReadOnlyList<GroupSpec>> groups)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Dictionary<string, TorchSharp.Modules.Parameter> trainable = model.named_parameters()
            .Where(p => p.parameter.requires_grad).ToDictionary(p => p.name, p => p.parameter);
        if (trainable.Count == 0)
        {
            throw new ArgumentException("the model has no trainable parameters; did its constructor call RegisterComponents()?", nameof(model));
        }

        long end = 0;
        var parameterGroups = new List<ParameterGroup>();
        foreach (GroupSpec spec in groups([.. trainable.Select(p => (p.Key, p.Value.shape))]))
        {
            var slots = new List<ParameterSlot>();
            foreach (string name in spec.ParameterNames)
            {
                slots.Add(new ParameterSlot(name, trainable[name].shape, end, trainable[name].numel()));
                end += (slots[^1].Elements + AlignmentElements - 1) / AlignmentElements * AlignmentElements;
            }

            parameterGroups.Add(new ParameterGroup(spec.Name, spec.Params, slots));
        }

        Groups = parameterGroups;
        Slots = [.. parameterGroups.SelectMany(g => g.Slots)];
        _leaves = [.. Slots.Select(slot => trainable[slot.Name])];
        Weights = zeros(end, precision.Model, device).DetachFromDisposeScope();
        Masters = precision.HasMasters ? zeros(end, float32, device).DetachFromDisposeScope() : Weights;
        Gradients = zeros(end, precision.Gradients, device).DetachFromDisposeScope();
        _gradientAddresses = new nint[Slots.Count];
        for (int i = 0; i < Slots.Count; i++)
        {
            View(Masters, Slots[i]).copy_(_leaves[i]); // before rounding: masters start from the model's own precision
            Tensor view = View(Weights, Slots[i]);
            TensorMemory.SetData(_leaves[i], view);
            Tensor gradient = View(Gradients, Slots[i]);
            _leaves[i].grad = gradient;
            _gradientAddresses[i] = TensorMemory.Address(gradient);
        }

        CopyMastersToWeights();
        // The rest of the model follows to the device; set_data keeps these objects too.
        Constants = [.. model.named_parameters().Where(p => !p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter)),
            .. model.named_buffers().Select(b => (b.name, b.buffer))];
        int frozen = Constants.Count - model.named_buffers().Count();
        for (int i = 0; i < Constants.Count; i++)
        {
            Tensor other = Constants[i].Tensor;
            ScalarType type = !other.is_floating_point() ? other.dtype
                : i < frozen ? precision.Model : precision.Buffers ?? other.dtype;
            TensorMemory.SetData(other, other.to(type, device).contiguous());
        }
    }

    /// <summary>The optimizer's groups.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>The parameters, group after group.</summary>
    public IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>[n] in the model's type: what the model computes with.</summary>
    public Tensor Weights { get; }

    /// <summary>[n] fp32: what the optimizer updates; the same tensor as <see cref="Weights"/> in fp32 training.</summary>
    public Tensor Masters { get; }

    /// <summary>[n]: all gradients, which backward adds to.</summary>
    public Tensor Gradients { get; }

    /// <summary>Whether masters and weights are two tensors.</summary>
    public bool HasMasters => !ReferenceEquals(Masters, Weights);

    /// <summary>What the model has besides: frozen parameters and buffers, by name.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> Constants { get; }

    /// <summary>Rounds the masters to what the model computes with.</summary>
    public void CopyMastersToWeights()
    {
        if (HasMasters)
        {
            using IDisposable noGrad = no_grad();
            Weights.copy_(Masters).DetachFromDisposeScope();
        }
    }

    /// <summary>Makes sure that backward still adds to <see cref="Gradients"/>.</summary>
    /// <exception cref="InvalidOperationException">Somebody replaced a gradient, so nothing would be trained.</exception>
    public void CheckGradientViews()
    {
        for (int i = 0; i < _leaves.Length; i++)
        {
            if (TensorMemory.GradientAddress(_leaves[i]) != _gradientAddresses[i])
            {
                throw new InvalidOperationException($"the gradient of {Slots[i].Name} is not the engine's any more; remove "
                    + "zero_grad() and to() on the model, the engine clears gradients itself");
            }
        }
    }

    /// <summary>The leaf tensor of a slot.</summary>
    public TorchSharp.Modules.Parameter Leaf(int index) => _leaves[index];

    /// <summary>A parameter's part of a flat buffer, in the parameter's shape. The caller disposes it.</summary>
    /// <param name="flat">A buffer laid out like <see cref="Masters"/>.</param>
    /// <param name="slot">The parameter.</param>
    public static Tensor View(Tensor flat, ParameterSlot slot)
    {
        using Tensor range = flat.narrow(0, slot.Offset, slot.Elements);
        return range.view([.. slot.Shape]);
    }

    public void Dispose()
    {
        Weights.Dispose();
        Masters.Dispose();
        Gradients.Dispose();
    }
}
