using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <content>Stage 3, where parameters are cut one by one.</content>
internal sealed partial class FlatParameters
{
    /// <summary>The part of a parameter that a rank updates, and where it is in the rank's shard: of the masters, the
    /// optimizer's state and, from stage 2 on, the gradients.</summary>
    /// <param name="rank">Any rank.</param>
    /// <param name="slot">The parameter.</param>
    public ShardSegment SegmentOf(int rank, ParameterSlot slot)
    {
        if (!IsPartitioned)
        {
            return Shards.SegmentOf(rank, slot.Range);
        }

        ElementRange part = _cuts[_slotIndices[slot.Name]].RangeOf(rank);
        return part.Length == 0 ? default : new ShardSegment(part.Start, slot.Offset, part.Length);
    }

    /// <summary>In stage 3, how a parameter is cut.</summary>
    public ParameterPartition CutOf(int index) => _cuts[index];

    // What DeepSpeed.Zero.Partition has taken must be what this stage trains.
    private void CheckPartitionedBefore(nn.Module model, Dictionary<string, TorchSharp.Modules.Parameter> trainable)
    {
        if (model.named_parameters().FirstOrDefault(p => !p.parameter.requires_grad && PartitionedParameter.Of(p.parameter) is not null) is { name: { } late })
        {
            throw new InvalidOperationException($"{late} was frozen after DeepSpeed.Zero.Partition had taken it: set requires_grad to false before; "
                + "frozen parameters stay whole on every rank");
        }

        if (!IsPartitioned && trainable.FirstOrDefault(p => PartitionedParameter.Of(p.Value) is not null) is { Key: { } early })
        {
            throw new InvalidOperationException($"{early} was partitioned by DeepSpeed.Zero.Init, and zero_optimization.stage is {_sharding.Stage}: "
                + "use stage 3, or build the model without Init");
        }
    }

    // The model's tensors keep their values until they are shared, unless they have been partitioned before.
    private PartitionedParameter[] Partition(ScalarType type)
    {
        _unrounded = new Tensor?[Slots.Count];
        return [.. Slots.Select((slot, i) =>
        {
            if (PartitionedParameter.Of(_leaves[i]) is { } early)
            {
                Adopt(slot, early);
            }
            else
            {
                _unrounded[i] = _leaves[i].detach().DetachFromDisposeScope();
            }

            return new PartitionedParameter(slot.Name, _leaves[i], _cuts[i], type, Device)
            {
                Shards = WeightShards!,
                Part = new ElementRange(slot.Offset, _cuts[i].PartElements),
                Store = value => SetValue(slot, value),
            };
        })];
    }

    // Takes over what a model built shard by shard has, in the precision it was built in.
    private void Adopt(ParameterSlot slot, PartitionedParameter early)
    {
        ParameterPartition cut = _cuts[_slotIndices[slot.Name]];
        if (early.Cut != cut)
        {
            throw new InvalidOperationException($"{slot.Name} was partitioned for {early.Cut.WorldSize} ranks, and this run has {cut.WorldSize}; "
                + "give DeepSpeed.Zero.Init and Initialize the same process group");
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor part = empty(cut.PartElements, early.Memory.dtype, early.Memory.device);
        early.Shards.Read(early.Part, part).Wait();
        var own = new ElementRange(slot.Offset, cut.PartElements);
        WeightShards!.Write(own, part);
        if (HasMasters)
        {
            MasterState.Write(own.Start, part);
        }

        early.Shards.Dispose();
        early.Dispose();
    }
}
