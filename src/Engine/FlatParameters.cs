using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>All trainable parameters in one buffer and all gradients in another; the model's own tensors are views of
/// them.</summary>
/// <remarks>
/// One buffer means one kernel per optimizer step, one norm, and collectives without copies. Groups of the optimizer
/// follow each other, so each is one range. The views are made with set_data, which keeps each parameter object, so
/// tied weights stay tied and hooks stay in place; it also changes the element type, unlike <c>module.to</c>, which
/// would replace the objects. Under ZeRO every rank has all weights, and of what the optimizer works with only the
/// range <see cref="Own"/>; in stage 2 that includes the gradients, and backward makes its own. In stage 3 there are no
/// flat weights either: every parameter is cut into equal parts, a rank's shard is its parts of all of them in a row,
/// and the model's tensors are whole only while they are used (<see cref="Partitioned"/>).
/// </remarks>
internal sealed partial class FlatParameters : IDisposable
{
    // 128 bytes of fp32: vector loads and NCCL want aligned starts.
    internal const long AlignmentElements = 32;

    private readonly TorchSharp.Modules.Parameter[] _leaves;
    private readonly Tensor? _masters; // null when they are offloaded
    private readonly Tensor? _weights; // null in stage 3
    private readonly List<ParameterPartition> _cuts; // of each slot in stage 3
    private readonly Dictionary<string, int> _slotIndices;
    private readonly nint[] _gradientAddresses = []; // empty when backward makes the gradients
    private Tensor?[] _unrounded = []; // the model's own values, while sharded masters or shards still need them
    private readonly Sharding _sharding;
    private readonly IReadOnlyList<ElementRange> _shardRanges; // by rank

    /// <param name="model">The model; its parameters and buffers move to the device.</param>
    /// <param name="device">Where to train.</param>
    /// <param name="precision">Element types.</param>
    /// <param name="groups">Decides the groups from names and shapes; null means one group without an optimizer's numbers.</param>
    /// <param name="sharding">What is sharded; null is nothing.</param>
    /// <param name="offload">Makes the place of masters and gradients outside the device for a shard of so many elements;
    /// null keeps them on it.</param>
    /// <param name="weights">In stage 3, makes the place of a shard of so many weights outside the device; null keeps them on it.
    /// Only with <paramref name="offload"/>.</param>
    public FlatParameters(nn.Module model, Device device, PrecisionPlan precision,
        Func<IReadOnlyList<(string Name, long[] Shape)>, IReadOnlyList<GroupSpec>> groups, Sharding? sharding = null,
        Func<long, OptimizerOffload>? offload = null, Func<long, IWeightShards>? weights = null)
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

        CheckPartitionedBefore(model, trainable);
        _cuts = [];
        long end = 0;
        var laidOut = new List<(GroupSpec Spec, ParameterSlot[] Slots, long Start, long End)>();
        foreach (GroupSpec spec in groups([.. trainable.Select(p => (p.Key, p.Value.shape))]))
        {
            long start = end;
            bool roundRobin = _sharding.RoundRobin && _sharding.Stage < 3; // every rank has a part of every parameter there
            laidOut.Add((spec, [.. ShardMap.Order(spec.ParameterNames.Count, _sharding.WorldSize, roundRobin).Select(i =>
            {
                TorchSharp.Modules.Parameter leaf = trainable[spec.ParameterNames[i]];
                var slot = new ParameterSlot(spec.ParameterNames[i], leaf.shape, end, leaf.numel());
                _cuts.Add(ParameterPartition.Of(slot.Elements, _sharding.WorldSize, AlignmentElements));
                end += IsPartitioned ? _cuts[^1].PartElements : (slot.Elements + AlignmentElements - 1) / AlignmentElements * AlignmentElements;
                return slot;
            })], start, end));
        }

        Shards = IsPartitioned ? new ShardMap(end * _sharding.WorldSize, _sharding.WorldSize)
            : ShardMap.Over(end, _sharding.WorldSize, AlignmentElements);
        Own = Shards.RangeOf(_sharding.Rank);
        _shardRanges = Shards.Cut(new ElementRange(0, Shards.Elements));
        Groups = [.. laidOut.Select(group => IsPartitioned
            ? new ParameterGroup(group.Spec.Name, group.Spec.Params, group.Slots, new ElementRange(group.Start, group.End - group.Start))
            : new ParameterGroup(group.Spec.Name, group.Spec.Params, group.Slots,
                ParameterGroup.WholeOf(group.Slots).Intersect(Own).From(Own.Start)))];
        Slots = [.. laidOut.SelectMany(group => group.Slots)];
        _slotIndices = Slots.Select((slot, i) => (slot.Name, i)).ToDictionary(pair => pair.Name, pair => pair.i);
        _leaves = [.. Slots.Select(slot => trainable[slot.Name])];
        Offload = offload?.Invoke(Own.Length);
        (Device, HasMasters) = (device, precision.HasMasters || Offload is not null);
        if (IsPartitioned)
        {
            WeightShards = weights?.Invoke(Own.Length) ?? new WeightShards(zeros(Own.Length, precision.Model, device).DetachFromDisposeScope());
            OwnWeights = (WeightShards.Values?.alias() ?? empty(0, precision.Model)).DetachFromDisposeScope();
        }
        else
        {
            _weights = zeros(Shards.Elements, precision.Model, device).DetachFromDisposeScope();
            OwnWeights = _weights.narrow(0, Own.Start, Own.Length).DetachFromDisposeScope();
        }

        _masters = Offload is not null ? null : HasMasters ? zeros(Own.Length, float32, device).DetachFromDisposeScope() : OwnWeights;
        MasterState = Offload?.Masters ?? new TensorShard(_masters!);
        bool shardsGradients = _sharding.Stage >= 2;
        OnHost = Offload?.HostElements ?? 0;
        long onDevice = Own.Length - OnHost;
        Gradients = zeros(shardsGradients ? onDevice : Shards.Elements, precision.Gradients, device).DetachFromDisposeScope();
        OwnGradients = (shardsGradients ? Gradients.alias() : Gradients.narrow(0, Own.Start + OnHost, onDevice)).DetachFromDisposeScope();
        _gradientAddresses = shardsGradients ? [] : new nint[Slots.Count];
        if (IsPartitioned)
        {
            Partitioned = Partition(precision.Model);
        }
        else
        {
            MakeViews(shardsGradients);
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

    private bool IsPartitioned => _sharding.Stage == 3;

    /// <summary>The optimizer's groups.</summary>
    public IReadOnlyList<ParameterGroup> Groups { get; }

    /// <summary>The parameters, group after group.</summary>
    public IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>Which elements each rank updates.</summary>
    public ShardMap Shards { get; }

    /// <summary>The elements that this rank updates: all of them without ZeRO.</summary>
    public ElementRange Own { get; }

    /// <summary>Where training takes place.</summary>
    public Device Device { get; }

    /// <summary>[n] in the model's type: what the model computes with. Not in stage 3, where nobody has all.</summary>
    public Tensor Weights => _weights
        ?? throw new InvalidOperationException("there are no flat weights in ZeRO stage 3; gather the parameters that are needed");

    /// <summary>[own]: the part of the weights that this rank updates; [0] where a disk has them.</summary>
    public Tensor OwnWeights { get; }

    /// <summary>In stage 3, where <see cref="OwnWeights"/> lie; null in the others.</summary>
    public IWeightShards? WeightShards { get; }

    /// <summary>In stage 3, the parameters, slot by slot; empty in the others.</summary>
    public IReadOnlyList<PartitionedParameter> Partitioned { get; } = [];

    /// <summary>[own] fp32: what the optimizer updates; <see cref="OwnWeights"/> itself in fp32 training. Not with
    /// <see cref="Offload"/>.</summary>
    public Tensor Masters => _masters ?? throw new InvalidOperationException("the masters are offloaded");

    /// <summary>[own] fp32: the same values as <see cref="Masters"/>, for who reads and writes state from outside the step.</summary>
    public IShardBuffer MasterState { get; }

    /// <summary>Where masters, moments and gradients of this rank's shard are, when not on the device; null otherwise.</summary>
    public OptimizerOffload? Offload { get; }

    /// <summary>The first so many elements of the shard are updated on the host.</summary>
    public long OnHost { get; }

    /// <summary>[n] gradients, which backward adds to; in stage 2 those of the shard that the device updates, the sums over
    /// ranks.</summary>
    public Tensor Gradients { get; }

    /// <summary>[own - <see cref="OnHost"/>]: the gradients of the shard that the device updates.</summary>
    public Tensor OwnGradients { get; }

    /// <summary>Whether masters and weights are two tensors.</summary>
    public bool HasMasters { get; }

    /// <summary>What the model has besides: frozen parameters and buffers, by name.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> Constants { get; }

    /// <summary>How many of <see cref="Constants"/>, from the first on, are frozen parameters.</summary>
    public int FrozenCount { get; }

    /// <summary>Bytes of weights, masters and gradients that this rank holds for all of training.</summary>
    public long Bytes => (_weights is { } all ? all.numel() * all.element_size() : WeightShards!.DeviceBytes) + Partitioned.Sum(p => p.GatheredBytes)
        + Gradients.numel() * Gradients.element_size() + (HasMasters ? MasterState.DeviceBytes : 0);

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

        if (!HasMasters && !IsPartitioned)
        {
            group.Broadcast(Weights, 0, "parameters");
            return;
        }

        // No rank has all masters, so they are cut from each parameter while it passes.
        for (int i = 0; i < Slots.Count; i++)
        {
            if (_unrounded[i] is { } mine)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor value = mine.to(float32, Device).contiguous();
                group.Broadcast(value, 0, Slots[i].Name);
                SetValue(Slots[i], value);
                mine.Dispose();
            }

            if (IsPartitioned)
            {
                Partitioned[i].Release(); // frees the model's own values
            }
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

    /// <summary>Adds gradients that are sums over ranks to those of this rank's shard, wherever these are (stage 2).</summary>
    /// <param name="start">First element, counted in the shard.</param>
    /// <param name="sums">[length], contiguous.</param>
    /// <returns>The mark after which the memory of the sums may be used again; null when it may be at once.</returns>
    public CudaEvent? AddToOwnGradients(long start, Tensor sums)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        long host = Math.Clamp(OnHost - start, 0, sums.numel()), rest = sums.numel() - host;
        CudaEvent? taken = host == 0 ? null : Offload!.Gradients.Put(start, sums.narrow(0, 0, host));
        if (rest > 0)
        {
            OwnGradients.narrow(0, start + host - OnHost, rest).add_(sums.narrow(0, host, rest));
        }

        return taken;
    }

    /// <summary>Starts bringing those of the flat gradients to the host that this rank updates there (stage 1).</summary>
    /// <param name="reduced">A range of <see cref="Gradients"/> that is summed over ranks; not to be changed before the step.</param>
    public void SendOwnGradients(ElementRange reduced)
    {
        ElementRange part = reduced.Intersect(new ElementRange(Own.Start, OnHost));
        if (part.Length > 0)
        {
            using IDisposable noGrad = no_grad();
            using Tensor sums = Gradients.narrow(0, part.Start, part.Length).DetachFromDisposeScope();
            Offload!.Gradients.Put(part.Start - Own.Start, sums);
        }
    }

    /// <summary>The norm of the gradients of this rank's shard, on the device or, with offload, on the CPU.</summary>
    /// <returns>Scalar fp32; the caller disposes it.</returns>
    public Tensor NormOfOwnGradients() => Offload?.NormOf(OwnGradients) ?? WideNorm.Of(OwnGradients);

    /// <summary>Forgets the gradients of this step.</summary>
    public void ClearGradients()
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Gradients.zero_();
        Offload?.Gradients.Clear();
    }

    /// <summary>Sets a parameter: its weight, and the masters that this rank has of it.</summary>
    /// <param name="slot">The parameter.</param>
    /// <param name="value">In the parameter's shape, of any floating type and on any device; the same on every rank.</param>
    public void SetValue(ParameterSlot slot, Tensor value)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        if (!IsPartitioned)
        {
            View(Weights, slot).copy_(value);
        }
        else
        {
            if (PartOf(slot, value) is { } part)
            {
                WeightShards!.Write(new ElementRange(slot.Offset, part.numel()), part);
            }

            if (Partitioned.Count > 0 && Partitioned[_slotIndices[slot.Name]] is { IsWhole: true } whole && !ReferenceEquals(whole.Leaf, value))
            {
                whole.Leaf.copy_(value); // it stays gathered
            }
        }

        if (HasMasters)
        {
            SetState(MasterState, slot, value);
        }
    }

    // This rank's elements of a value, in one dimension; null when it has none. In the current dispose scope.
    private Tensor? PartOf(ParameterSlot slot, Tensor value)
    {
        ShardSegment part = SegmentOf(_sharding.Rank, slot);
        return part.Length == 0 ? null : value.detach().reshape(slot.Elements).narrow(0, part.ParameterOffset, part.Length);
    }

    /// <summary>Sets what this rank has of a parameter in a buffer of the optimizer.</summary>
    /// <param name="state">[own], as <see cref="MasterState"/>.</param>
    /// <param name="slot">The parameter.</param>
    /// <param name="value">In the parameter's shape.</param>
    public void SetState(IShardBuffer state, ParameterSlot slot, Tensor value)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        if (PartOf(slot, value) is { } mine)
        {
            state.Write(SegmentOf(_sharding.Rank, slot).ShardOffset, mine);
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
        foreach (PartitionedParameter parameter in Partitioned)
        {
            parameter.Dispose();
        }

        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[OwnWeights, _weights, OwnGradients, Gradients, .. _unrounded])
        {
            tensor?.Dispose();
        }

        WeightShards?.Dispose();
        MasterState.Dispose();
        Offload?.Dispose();
    }

    // The model's tensors become views of the flat buffers.
    private void MakeViews(bool shardsGradients)
    {
        _unrounded = HasMasters && _sharding.IsOn ? [.. _leaves.Select(leaf => leaf.detach().DetachFromDisposeScope())] : [];
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
    }
}
