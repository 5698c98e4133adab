using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native.Disk;
using DeepSpeedSharp.Engine.Precision;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Makes the offload that a config asks for.</summary>
internal static class Offloading
{
    /// <summary>What makes that of the optimizer, when the shard's size is known; null when nothing is offloaded.</summary>
    /// <remarks>Weights outside the device need it too, with nothing on the host: it knows how to bring them there.</remarks>
    /// <param name="config">The config; <see cref="EngineLimits"/> has passed it.</param>
    /// <param name="precision">Element types.</param>
    /// <param name="device">Where training runs.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="say">Takes how it is done, for the log.</param>
    public static Func<long, OptimizerOffload>? Of(DeepSpeedConfig config, PrecisionPlan precision, Device device, int rank, Action<string> say)
    {
        ZeroConfig zero = config.Zero;
        OffloadOptimizerConfig offload = zero.OffloadOptimizer is { Device: not OffloadDevice.None } asked ? asked : new() { Ratio = 0 };
        if (zero.Stage == 0 || (offload.Device == OffloadDevice.None && !OffloadsWeights(zero)))
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

    /// <summary>What makes the place of stage 3's weights; null when they are on the device.</summary>
    /// <param name="config">As for <see cref="Of"/>.</param>
    /// <param name="precision">As for <see cref="Of"/>.</param>
    /// <param name="device">As for <see cref="Of"/>.</param>
    /// <param name="rank">As for <see cref="Of"/>.</param>
    /// <param name="say">As for <see cref="Of"/>.</param>
    public static Func<long, IWeightShards>? WeightsOf(DeepSpeedConfig config, PrecisionPlan precision, Device device, int rank, Action<string> say)
    {
        if (!OffloadsWeights(config.Zero))
        {
            return null;
        }

        OffloadParamConfig offload = config.Zero.OffloadParam!;
        return own =>
        {
            if (offload.Device == OffloadDevice.Cpu)
            {
                return new HostWeightShards(own, precision.Model, device, offload.PinMemory);
            }

            var weights = new DiskWeightShards(own, precision.Model, device, offload.MaxInCpu, offload.BufferSize, new DiskStateOptions(offload.NvmePath!,
                offload.BufferCount, PipelineRead: true, PipelineWrite: false, FastInit: true, offload.PinMemory, DiskOf(config.AsyncIO)), rank);
            say($"the parameters are in {weights.Folder}, except {Math.Min(own, offload.MaxInCpu)} elements in host memory");
            return weights;
        };
    }

    private static bool OffloadsWeights(ZeroConfig zero) => zero is { Stage: 3, OffloadParam.Device: not OffloadDevice.None };

    private static DiskStates OnDisk(OffloadCut cut, DeepSpeedConfig config, OffloadOptimizerConfig offload, int rank, Action<string> say)
    {
        var states = new DiskStates(cut.Host, new DiskStateOptions(offload.NvmePath!, offload.BufferCount, offload.PipelineRead,
            offload.PipelineWrite, offload.FastInit, offload.PinMemory, DiskOf(config.AsyncIO)), rank);
        say($"the optimizer's state is in {states.Folder}, moved by {states.How}");
        return states;
    }

    private static DiskOptions DiskOf(AsyncIOConfig aio) =>
        DiskOptions.Of(aio.BlockSizeBytes, aio.QueueDepth, aio.IntraOpParallelism, aio.SingleSubmit, aio.OverlapEvents);
}
