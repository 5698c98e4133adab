using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Makes the stage that a config asks for.</summary>
internal static class ZeroStages
{
    /// <summary>Makes it.</summary>
    /// <param name="config">The config; <see cref="EngineLimits"/> has passed it.</param>
    /// <param name="model">The model.</param>
    /// <param name="parameters">Its flat buffers, made for the same stage.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="averaging">What gradients are multiplied by before they travel.</param>
    /// <param name="travelling">Element type of the gradients between ranks.</param>
    /// <param name="warn">Takes warnings.</param>
    public static IZeroStage Create(DeepSpeedConfig config, nn.Module model, FlatParameters parameters, ProcessGroup group,
        AveragingPlan averaging, ScalarType travelling, Action<string> warn) => config.Zero.Stage switch
        {
            0 => new Stage0Replicated(parameters, new GradientBuckets(parameters, group, config.Zero.ReduceBucketSize, averaging, travelling,
                config.SparseGradients ? Embeddings.SlotsOf(model, parameters) : new HashSet<int>())),
            1 => new Stage1OptimizerState(parameters, group, config.Zero, averaging, travelling),
            2 => new Stage2Gradients(parameters, group, config.Zero, averaging, travelling),
            _ => new Stage3Parameters(model, parameters, group, config.Zero, averaging, travelling, warn),
        };
}
