using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native.Disk;
using DeepSpeedSharp.Engine.Precision;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Makes the offload that a config asks for.</summary>
internal static class Offloading
{
    /// <summary>What makes it, when the shard's size is known; null when nothing is offloaded.</summary>
    /// <param name="config">The config; <see cref="EngineLimits"/> has passed it.</param>
    /// <param name="precision">Element types.</param>
    /// <param name="device">Where training runs.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="say">Takes how it is done, for the log.</param>
    public static Func<long, OptimizerOffload>? Of(DeepSpeedConfig config, PrecisionPlan precision, Device device, int rank, Action<string> say)
    {
        if (config.Zero is not { Stage: > 0, OffloadOptimizer: { Device: not OffloadDevice.None } offload } zero)
        {
            return null;
        }

        return own =>
        {
            OffloadCut cut = OffloadCut.Of(own, offload.Ratio, zero.Stage3.SubGroupSize);
            IHostStates states = offload.Device == OffloadDevice.Nvme ? OnDisk(cut, config, offload, rank, say)
                : new ResidentStates(cut.Host, offload.PinMemory);
            return new OptimizerOffload(cut, states, precision.Model, precision.Gradients, device, offload.PinMemory);
        };
    }

    private static DiskStates OnDisk(OffloadCut cut, DeepSpeedConfig config, OffloadOptimizerConfig offload, int rank, Action<string> say)
    {
        AsyncIOConfig aio = config.AsyncIO;
        var states = new DiskStates(cut.Host, new DiskStateOptions(offload.NvmePath!, offload.BufferCount, offload.PipelineRead,
            offload.PipelineWrite, offload.FastInit, offload.PinMemory,
            DiskOptions.Of(aio.BlockSizeBytes, aio.QueueDepth, aio.IntraOpParallelism, aio.SingleSubmit, aio.OverlapEvents)), rank);
        say($"the optimizer's state is in {states.Folder}, moved by {states.How}");
        return states;
    }
}
