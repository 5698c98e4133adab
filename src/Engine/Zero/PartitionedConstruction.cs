using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Partitions the parameters of modules as soon as they are made, so that a model never stands whole anywhere.</summary>
/// <remarks>In force for the thread that opened it, until it is disposed. The parts are kept in the type and on the device
/// in which the modules were made, which loses nothing of the fp32 masters' values.</remarks>
internal sealed class PartitionedConstruction : IDisposable
{
    // What FlatParameters aligns to, so that the engine takes the parts over as they are.
    private const long AlignmentElements = FlatParameters.AlignmentElements;

    [ThreadStatic]
    private static PartitionedConstruction? _current;

    private readonly ProcessGroup _group;
    private readonly bool _fromRankZero;

    /// <param name="group">The ranks.</param>
    /// <param name="fromRankZero">Every rank gets rank 0's values; false leaves it to the caller that all make the same.</param>
    public PartitionedConstruction(ProcessGroup group, bool fromRankZero)
    {
        if (_current is not null)
        {
            throw new InvalidOperationException("DeepSpeed.Zero.Init was called inside DeepSpeed.Zero.Init; dispose the first one before");
        }

        (_group, _fromRankZero) = (group, fromRankZero);
        _current = this;
    }

    /// <summary>The one in force on this thread.</summary>
    public static PartitionedConstruction? Current => _current;

    /// <summary>Partitions every trainable parameter of a module that is whole.</summary>
    public void Partition(nn.Module module)
    {
        foreach ((string name, TorchSharp.Modules.Parameter parameter) in module.named_parameters())
        {
            if (parameter.requires_grad && parameter.is_floating_point() && PartitionedParameter.Of(parameter) is null)
            {
                Partition($"{module.GetType().Name}.{name}", parameter);
            }
        }
    }

    public void Dispose() => _current = null;

    private void Partition(string name, TorchSharp.Modules.Parameter parameter)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Tensor whole = parameter.detach().contiguous();
        if (_fromRankZero)
        {
            _group.Broadcast(whole, 0, name);
        }

        ParameterPartition cut = ParameterPartition.Of(parameter.numel(), _group.WorldSize, AlignmentElements);
        ElementRange own = cut.RangeOf(_group.Rank);
        var shards = new WeightShards(zeros(cut.PartElements, parameter.dtype, parameter.device).DetachFromDisposeScope());
        Keep(whole);
        new PartitionedParameter(name, parameter, cut, parameter.dtype, parameter.device)
        {
            Shards = shards,
            Part = new ElementRange(0, cut.PartElements),
            Store = Keep,
            Group = _group,
        }.Release();

        void Keep(Tensor value)
        {
            using DisposeScope inner = NewDisposeScope();
            if (own.Length > 0)
            {
                shards.Write(new ElementRange(0, own.Length), value.detach().reshape(cut.Elements).narrow(0, own.Start, own.Length));
            }
        }
    }
}
