namespace DeepSpeedSharp.Config;

/// <summary>The memory formulas of the ZeRO paper and of DeepSpeed's estimator functions: 16-bit weights and Adam.</summary>
public static class ZeroMemory
{
    /// <summary>What host memory is multiplied by in DeepSpeed's estimates.</summary>
    public const double OriginalBufferFactor = 1.5;

    /// <summary>Bytes of weights, gradients, masters and moments on each rank, for one parameter.</summary>
    /// <remarks>Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020, figure 1.</remarks>
    /// <param name="stage">0 to 3.</param>
    /// <param name="ranks">Data-parallel ranks, at least 1.</param>
    public static double BytesPerParameter(int stage, int ranks) => stage switch
    {
        0 => 16,
        1 => 4 + 12.0 / ranks,
        2 => 2 + 14.0 / ranks,
        3 => 16.0 / ranks,
        _ => throw new ArgumentOutOfRangeException(nameof(stage), stage, "use 0, 1, 2 or 3"),
    };

    /// <summary>DeepSpeed's <c>estimate_zero2_model_states_mem_needs</c>.</summary>
    /// <param name="parameters">Parameters of the model.</param>
    /// <param name="gpusPerNode">GPUs of a node.</param>
    /// <param name="nodes">Nodes.</param>
    /// <param name="offload">Whether the optimizer is on the CPU.</param>
    /// <param name="bufferFactor">Multiplies host memory.</param>
    /// <returns>Bytes of a GPU and of the host memory of a node.</returns>
    public static (long GpuBytes, long HostBytesPerNode) OriginalStage2(
        long parameters, int gpusPerNode, int nodes, bool offload, double bufferFactor = OriginalBufferFactor)
    {
        int ranks = gpusPerNode * nodes;
        return offload
            ? (2 * parameters, (long)(parameters * (double)Math.Max(4 * ranks, 16) * bufferFactor))
            : (2 * parameters + 18 * parameters / ranks, (long)(parameters * 4.0 * gpusPerNode * bufferFactor));
    }

    /// <summary>DeepSpeed's <c>estimate_zero3_model_states_mem_needs</c>.</summary>
    /// <param name="parameters">Parameters of the model.</param>
    /// <param name="largestLayer">Parameters of its largest layer.</param>
    /// <param name="gpusPerNode">GPUs of a node.</param>
    /// <param name="nodes">Nodes.</param>
    /// <param name="offloadOptimizer">Whether the optimizer is on the CPU.</param>
    /// <param name="offloadParam">Whether parameters are too; only with the optimizer.</param>
    /// <param name="zeroInit">Whether the model is built in parts.</param>
    /// <param name="bufferFactor">Multiplies host memory.</param>
    /// <returns>Bytes of a GPU and of the host memory of a node.</returns>
    public static (long GpuBytes, long HostBytesPerNode) OriginalStage3(long parameters, long largestLayer, int gpusPerNode, int nodes,
        bool offloadOptimizer, bool offloadParam, bool zeroInit, double bufferFactor = OriginalBufferFactor)
    {
        int ranks = gpusPerNode * nodes;
        double whole = zeroInit ? 0 : parameters * 4.0 * gpusPerNode * bufferFactor; // each process of a node builds all of it
        long layer = 4 * largestLayer;
        return (offloadOptimizer, offloadParam) switch
        {
            (false, _) => (layer + 18 * parameters / ranks,
                (long)(zeroInit ? largestLayer * 4.0 * gpusPerNode * bufferFactor : whole)),
            (true, false) => (layer + 2 * parameters / ranks, (long)Math.Max(whole, parameters * 16.0 / nodes * bufferFactor)),
            (true, true) => (layer, (long)Math.Max(whole, parameters * 18.0 / nodes * bufferFactor)),
        };
    }
}
