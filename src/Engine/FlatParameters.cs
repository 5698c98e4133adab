using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>One parameter of the model and its place in the flat buffers.</summary>
/// <param name="Name">Its name in the model, as in a state dictionary.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">First element in the flat buffers.</param>
/// <param name="Elements">Number of elements.</param>
internal sealed record ParameterSlot(string Name, IReadOnlyList<long> Shape, long Offset, long Elements)
{
    /// <summary>Its elements in the flat buffers.</summary>
    public ElementRange Range => new(Offset, Elements);
}

/// <summary>All trainable parameters in one buffer and all gradients in another; the model's own tensors are views of
/// them.</summary>
/// <remarks>
/// One buffer means one kernel per optimizer step, one norm, and collectives without copies. Groups of the optimizer
/// follow each other, so each is one range. The views are made with set_data, which keeps each parameter object, so
/// tied weights stay tied and hooks stay in place; it also changes the element type, unlike <c>module.to</c>, which
/// would replace the objects. Under ZeRO every rank has all weights, and of what the optimizer works with only the
/// range <see cref="Own"/>; in stage 2 that includes the gradients, and backward makes its own.
/// </remarks>
internal sealed class FlatParameters : IDisposable
{
    // 128 bytes of fp32: vector loads and NCCL want aligned starts.
    private const long AlignmentElements = 32;
    private const long CopiedAtATime = 1 << 24; // elements: masters may be on a disk

    private readonly TorchSharp.Modules.Parameter[] _leaves;
    private readonly nint[] _gradientAddresses = []; // empty when backward makes the gradients
    private Tensor[] _unrounded = []; // the model's own values, while sharded masters still need them
    private readonly Sharding _sharding;
    private readonly IReadOnlyList<ElementRange> _shardRanges; // by rank

    /// <param name="model">The model; its parameters and buffers move to the device.</param>
    /// <param name="device">Where to train.</param>
    /// <param name="precision">Element types.</param>
    /// <param name="groups">Decides the groups from names and shapes; null means one group without an optimizer's numbers.</param>
    /// <param name="sharding">What is sharded; null is nothing.</param>
    public FlatParameters(nn.Module model, Device device, PrecisionPlan precision,
        Func<IReadOnlyList<(string Name, long[] Shape)>, IReadOnlyList<GroupSpec>> groups, Sharding? sharding = null)
    {
        _sharding = sharding ?? Sharding.None;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Dictionary<string, TorchSharp.Modules.Parameter> trainable = model.named_parameters()
            .Where(p => p.parameter.requires_grad).ToDictionary(p => p.name, p => p.parameter);
        if (trainable.Count == 0)
        {
            throw new ArgumentException("the model has no trainable parameters; did its constructor call RegisterComponents()?", nameof(model));
        }

        long end = 0;
        var laidOut = new List<(GroupSpec Spec, ParameterSlot[] Slots)>();
        foreach (GroupSpec spec in groups([.. trainable.Select(p => (p.Key, p.Value.shape))]))
        {
            laidOut.Add((spec, [.. ShardMap.Order(spec.ParameterNames.Count, _sharding.WorldSize, _sharding.RoundRobin).Select(i =>
            {
                TorchSharp.Modules.Parameter leaf = trainable[spec.ParameterNames[i]];
                var slot = new ParameterSlot(spec.ParameterNames[i], leaf.shape, end, leaf.numel());
                end += (slot.Elements + AlignmentElements - 1) / AlignmentElements * AlignmentElements;
                return slot;
            })]));
        }

        Shards = ShardMap.Over(end, _sharding.WorldSize, AlignmentElements);
        Own = Shards.RangeOf(_sharding.Rank);
        _shardRanges = Shards.Cut(new ElementRange(0, Shards.Elements));
        Groups = [.. laidOut.Select(group => new ParameterGroup(group.Spec.Name, group.Spec.Params, group.Slots, Own))];
        Slots = [.. laidOut.SelectMany(group => group.Slots)];
        _leaves = [.. Slots.Select(slot => trainable[slot.Name])];
        HasMasters = precision.HasMasters;
        Weights = zeros(Shards.Elements, precision.Model, device).DetachFromDisposeScope();
        OwnWeights = Weights.narrow(0, Own.Start, Own.Length).DetachFromDisposeScope();
        Masters = HasMasters ? zeros(Own.Length, float32, device).DetachFromDisposeScope() : OwnWeights;
        MasterState = new TensorShard(Masters);
        bool shardsGradients = _sharding.Stage >= 2;
        Gradients = zeros(shardsGradients ? Own.Length : Shards.Elements, precision.Gradients, device).DetachFromDisposeScope();
        OwnGradients = (shardsGradients ? Gradients.alias() : Gradients.narrow(0, Own.Start, Own.Length)).DetachFromDisposeScope();
        _unrounded = HasMasters && _sharding.IsOn ? [.. _leaves.Select(leaf => leaf.detach().DetachFromDisposeScope())] : [];
        _gradientAddresses = shardsGradients ? [] : new nint[Slots.Count];
        for (int i = 0; i < Slots.Count; i++)
        {
            SetValue(Slots[i], _leaves[i]); // masters start from the model's own precision
            TensorMemory.SetData(_leaves[i], View(Weights, Slots[i]));
            if (shardsGradients)
            {
                continue;
            }

            Tensor gradient = View(Gradients, Slots[i]);
            _leaves[i].grad = gradient;
            _gradientAddresses[i] = TensorMemory.Address(gradient);
        }

        // The rest of the model follows to the device; set_data keeps these objects too.
        Constants = [.. model.named_parameters().Where(p => !p.parameter.requires_grad).Select(p => (p.name, (Tensor)p.parameter)),
            .. model.named_buffers().Select(b => (b.name, b.buffer))];
        int frozen = Constants.Count - model.named_buffers().Count();
        FrozenCount = frozen;
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

    /// <summary>Which elements each rank updates.</summary>
    public ShardMap Shards { get; }

    /// <summary>The elements that this rank updates: all of them without ZeRO.</summary>
    public ElementRange Own { get; }

    /// <summary>[n] in the model's type: what the model computes with.</summary>
    public Tensor Weights { get; }

    /// <summary>[own]: the part of <see cref="Weights"/> that this rank updates.</summary>
    public Tensor OwnWeights { get; }

    /// <summary>[own] fp32: what the optimizer updates; <see cref="OwnWeights"/> itself in fp32 training.</summary>
    public Tensor Masters { get; }

    /// <summary>[own] fp32: the same values as <see cref="Masters"/>, for who reads and writes state from outside the step.</summary>
    public IShardBuffer MasterState { get; }

    /// <summary>[n] gradients, which backward adds to; in stage 2 [own], the sums over ranks.</summary>
    public Tensor Gradients { get; }

    /// <summary>[own]: the part of the gradients that this rank's optimizer reads.</summary>
    public Tensor OwnGradients { get; }

    /// <summary>Whether masters and weights are two tensors.</summary>
    public bool HasMasters { get; }

    /// <summary>What the model has besides: frozen parameters and buffers, by name.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> Constants { get; }

    /// <summary>How many of <see cref="Constants"/>, from the first on, are frozen parameters.</summary>
    public int FrozenCount { get; }

    /// <summary>Bytes of weights, masters and gradients that this rank holds for all of training.</summary>
    public long Bytes => Weights.numel() * Weights.element_size() + Gradients.numel() * Gradients.element_size()
        + (HasMasters ? Masters.numel() * sizeof(float) : 0);

    /// <summary>Gives every rank the values of rank 0, unrounded where there are masters. Every rank must call this once.</summary>
    public void ShareFromRankZero(ProcessGroup group)
    {
        using IDisposable noGrad = no_grad();
        if (!_sharding.IsOn)
        {
            group.Broadcast(Masters, 0, "parameters");
            CopyMastersToWeights();
            return;
        }

        if (!HasMasters)
        {
            group.Broadcast(Weights, 0, "parameters");
            return;
        }

        // No rank has all masters, so they are cut from each parameter while it passes.
        for (int i = 0; i < Slots.Count; i++)
        {
            using DisposeScope scope = NewDisposeScope();
            using Tensor mine = _unrounded[i];
            Tensor value = mine.to(float32, Weights.device).contiguous();
            group.Broadcast(value, 0, Slots[i].Name);
            SetValue(Slots[i], value);
        }

        _unrounded = [];
    }

    /// <summary>Rounds the masters to what the model computes with, where this rank has all of them.</summary>
    private void CopyMastersToWeights()
    {
        if (HasMasters)
        {
            using DisposeScope scope = NewDisposeScope();
            Weights.copy_(Masters);
        }
    }

    /// <summary>Gives every rank the weights that the others have updated.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    public void GatherWeights(ProcessGroup group, long bucketElements) =>
        group.AllGather(Weights, _shardRanges, "weights", bucketElements);

    /// <summary>Sets a parameter: its weight, and the masters that this rank has of it.</summary>
    /// <param name="slot">The parameter.</param>
    /// <param name="value">In the parameter's shape, of any floating type and on any device; the same on every rank.</param>
    public void SetValue(ParameterSlot slot, Tensor value)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        View(Weights, slot).copy_(value);
        if (HasMasters)
        {
            SetState(MasterState, slot, value);
        }
    }

    /// <summary>Sets what this rank has of a parameter in a buffer of the optimizer.</summary>
    /// <param name="state">[own], as <see cref="MasterState"/>.</param>
    /// <param name="slot">The parameter.</param>
    /// <param name="value">In the parameter's shape.</param>
    public void SetState(IShardBuffer state, ParameterSlot slot, Tensor value)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        ShardSegment part = Shards.SegmentOf(_sharding.Rank, slot.Range);
        if (part.Length > 0)
        {
            state.Write(part.ShardOffset, value.detach().reshape(slot.Elements).narrow(0, part.ParameterOffset, part.Length));
        }
    }

    /// <summary>What this rank has of every parameter in a buffer of the optimizer.</summary>
    /// <param name="state">Null for <see cref="MasterState"/>, else the buffer's name.</param>
    /// <param name="buffer">[own].</param>
    public IEnumerable<StatePiece> Pieces(string? state, IShardBuffer buffer) => Pieces(state, buffer, Shards, _sharding.Rank);

    /// <summary>What this rank writes of every parameter to a checkpoint: each element is one rank's.</summary>
    /// <param name="state">As for <see cref="Pieces(string?, IShardBuffer)"/>.</param>
    /// <param name="buffer">[own].</param>
    /// <param name="group">The ranks. Where all have everything, each writes an equal share.</param>
    public IEnumerable<StatePiece> PiecesToSave(string? state, IShardBuffer buffer, ProcessGroup group) => _sharding.IsOn
        ? Pieces(state, buffer) : Pieces(state, buffer, ShardMap.Over(Shards.Elements, group.WorldSize, AlignmentElements), group.Rank);

    private IEnumerable<StatePiece> Pieces(string? state, IShardBuffer buffer, ShardMap shares, int rank) => Slots.Select(slot =>
    {
        ShardSegment part = shares.SegmentOf(rank, slot.Range);
        long offset = slot.Offset + part.ParameterOffset - Own.Start;
        return new StatePiece(state, slot.Name, slot.Shape, new ElementRange(part.ParameterOffset, part.Length))
        {
            Type = float32,
            Read = range => buffer.Read(range with { Start = offset + range.Start }),
            Write = (start, values) => buffer.Write(offset + start, values),
        };
    });

    /// <summary>Gives every rank the weights of masters that a checkpoint has replaced. Every rank must call this.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    /// <param name="keepsMasters">False rounds the masters as well.</param>
    public void ShareMasters(ProcessGroup group, long bucketElements, bool keepsMasters)
    {
        using IDisposable noGrad = no_grad();
        for (long start = 0; HasMasters && start < Own.Length; start += CopiedAtATime)
        {
            using DisposeScope scope = NewDisposeScope();
            var part = new ElementRange(start, Math.Min(CopiedAtATime, Own.Length - start));
            Tensor rounded = OwnWeights.narrow(0, start, part.Length).copy_(MasterState.Read(part));
            if (!keepsMasters)
            {
                MasterState.Write(start, rounded);
            }
        }

        if (_sharding.IsOn)
        {
            GatherWeights(group, bucketElements);
        }
    }

    /// <summary>Makes sure that backward still adds to <see cref="Gradients"/>.</summary>
    /// <exception cref="InvalidOperationException">Somebody replaced a gradient, so nothing would be trained.</exception>
    public void CheckGradientViews()
    {
        for (int i = 0; i < _gradientAddresses.Length; i++)
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
    /// <param name="flat">A buffer laid out like <see cref="Weights"/>.</param>
    /// <param name="slot">The parameter.</param>
    public static Tensor View(Tensor flat, ParameterSlot slot)
    {
        using Tensor range = flat.narrow(0, slot.Offset, slot.Elements);
        return range.view([.. slot.Shape]);
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[OwnWeights, Weights, Masters, OwnGradients, Gradients, .. _unrounded])
        {
            tensor.Dispose();
        }
    }
}
