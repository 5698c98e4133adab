using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Makes the optimizer that a config names.</summary>
internal static class OptimizerFactory
{
    /// <summary>Makes it.</summary>
    /// <param name="config">The optimizer section.</param>
    /// <param name="groups">The groups, in the order of the flat buffers.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="fused">False takes the plain formulas everywhere, for comparison.</param>
    public static FlatOptimizer Create(
        OptimizerConfig config, IReadOnlyList<ParameterGroup> groups, long elements, Device device, bool fused = true)
    {
        return config.Params switch
        {
            AdamParams { TorchAdam: false } when fused && device.type == TorchSharp.DeviceType.CPU =>
                new CpuAdam(config.Type, groups, elements),
            AdamParams => new Adam(config.Type, groups, elements, device, fused),
            SgdParams => new Sgd(groups, elements, device, fused),
            LionParams => new Lion(groups, elements, device),
            AdagradParams => new Adagrad(groups, elements, device, fused),
            LambParams => new Lamb(groups, elements, device),
            MuonParams => new Muon(groups, elements, device, fused),
            _ => throw new ArgumentException($"there is no optimizer {config.Type}", nameof(config)),
        };
    }
}
