using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Makes partitioned parameters whole.</summary>
/// <param name="group">The ranks.</param>
/// <param name="isSequential">One collective for each parameter (<c>stage3_allgather_sequential</c>).</param>
/// <param name="byAllReduce">Sums buffers that are zero elsewhere (<c>stage3_use_all_reduce_for_fetch_params</c>).</param>
internal sealed class ParameterGatherer(ProcessGroup group, bool isSequential = false, bool byAllReduce = false)
{
    /// <summary>Parameters that are being gathered.</summary>
    /// <param name="Parameters">The parameters.</param>
    /// <param name="Joined">[ranks x parts] when they travel together; null when each travels in its own memory.</param>
    /// <param name="Works">The collectives.</param>
    internal sealed record Pending(IReadOnlyList<PartitionedParameter> Parameters, Tensor? Joined, IReadOnlyList<Work> Works);

    /// <summary>Starts gathering. Every rank must call this, with the same parameters.</summary>
    /// <param name="parameters">Parameters without memory, at least one.</param>
    /// <param name="name">What they are, for messages.</param>
    /// <returns>To be given to <see cref="Finish"/>.</returns>
    public Pending Start(IReadOnlyList<PartitionedParameter> parameters, string name)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        foreach (PartitionedParameter parameter in parameters)
        {
            parameter.TakeMemory();
        }

        if (parameters.Count == 1 || isSequential || group.WorldSize == 1)
        {
            return new Pending(parameters, null, [.. parameters.Select(p =>
            {
                Work read = p.Shards.Read(p.Part, Own(p.Memory, p.Cut.PartElements));
                if (group.WorldSize == 1)
                {
                    return read;
                }

                read.Wait();
                return Send(p.Memory, p.Cut.PartElements, $"{name}: {p.Name}");
            })]);
        }

        // Together in one collective; each rank's parts follow each other, so they are put in order afterwards.
        long all = parameters.Sum(p => p.Cut.PartElements);
        Tensor joined = empty(all * group.WorldSize, parameters[0].Memory.dtype, parameters[0].Memory.device).DetachFromDisposeScope();
        Tensor own = Own(joined, all);
        long offset = 0;
        var reads = new List<Work>();
        foreach (PartitionedParameter parameter in parameters)
        {
            reads.Add(parameter.Shards.Read(parameter.Part, own.narrow(0, offset, parameter.Cut.PartElements)));
            offset += parameter.Cut.PartElements;
        }

        reads.ForEach(read => read.Wait());
        return new Pending(parameters, joined, [Send(joined, all, name)]);
    }

    /// <summary>Waits for a gather and shows the values.</summary>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Finish(Pending pending)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        try
        {
            foreach (Work work in pending.Works)
            {
                work.Wait();
            }

            long offset = 0;
            Tensor? rows = pending.Joined?.view(group.WorldSize, -1); // [ranks, parts]
            foreach (PartitionedParameter parameter in pending.Parameters)
            {
                if (rows is not null)
                {
                    parameter.Memory.view(group.WorldSize, -1).copy_(rows.narrow(1, offset, parameter.Cut.PartElements));
                    offset += parameter.Cut.PartElements;
                }

                parameter.Show();
            }
        }
        finally
        {
            pending.Joined?.Dispose();
        }
    }

    private Tensor Own(Tensor all, long part)
    {
        if (byAllReduce)
        {
            all.zero_();
        }

        return all.narrow(0, group.Rank * part, part);
    }

    private Work Send(Tensor all, long part, string name) => byAllReduce
        ? group.AllReduceAsync(all, name)
        : group.AllGatherAsync(all, new ParameterPartition(all.numel(), group.WorldSize, part).Parts(), name);
}
