using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Stage 1 (P_os): every rank keeps the optimizer's state, and in 16-bit training the fp32 masters, of its own
/// shard only.</summary>
/// <remarks>
/// Gradients accumulate on every rank as in stage 0. In the last backward of a step each bucket is summed at the owners
/// of its parts, the optimizer updates the shard, and the weights are gathered: P + P elements per rank, what an
/// all-reduce moves. <c>reduce_scatter: false</c> all-reduces instead, with the very additions of stage 0, and serves
/// tests as the plain way. Rajbhandari et al., "ZeRO", 2020, section 5.1.
/// </remarks>
internal sealed class Stage1OptimizerState : IZeroStage
{
    private readonly FlatParameters _parameters;
    private readonly ProcessGroup _group;
    private readonly long _gatherElements;
    private readonly GradientBuckets _buckets;

    /// <param name="parameters">Flat buffers of stage 1.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="config">Bucket sizes, overlap, and which collective.</param>
    /// <param name="averaging">What gradients are multiplied by before they travel.</param>
    /// <param name="travelling">Element type of the gradients between ranks.</param>
    public Stage1OptimizerState(
        FlatParameters parameters, ProcessGroup group, ZeroConfig config, AveragingPlan averaging, ScalarType travelling)
    {
        (_parameters, _group, _gatherElements) = (parameters, group, config.AllGatherBucketSize);
        _buckets = new GradientBuckets(parameters, group, config.ReduceBucketSize, averaging, travelling, new HashSet<int>(), config.OverlapComm)
        {
            Owners = config.ReduceScatter ? parameters.Shards : null,
            RefusesUnused = !config.IgnoreUnusedParameters,
            Reduced = parameters.OnHost > 0 ? parameters.SendOwnGradients : null,
        };
    }

    public bool ReducesEveryBackward => false;

    public void Begin() => _buckets.Begin();

    public void Finish() => _buckets.Finish();

    public void ThrowIfUnreduced()
    {
        // Whatever backward has added to the flat gradients is reduced before a step.
    }

    public void ClearGradients() => _parameters.ClearGradients();

    public void GatherWeights() => _parameters.GatherWeights(_group, _gatherElements);

    public void Dispose() => _buckets.Dispose();
}
