using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Kernels;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Adam with L2 or decoupled weight decay.</summary>
/// <remarks>
/// Kingma and Ba, "Adam", 2015, algorithm 1; decoupled decay: Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", 2019, algorithm 2. As in DeepSpeed, the type "Adam" decays decoupled unless adam_w_mode is false.
/// </remarks>
internal sealed class Adam : FlatOptimizer
{
    private readonly bool _fused;
    private readonly bool _onePass; // our own kernel: 16-bit gradients and copies without a pass of their own
    private readonly Tensor _stepCount; // on the device, where alone it is known at once whether a step was skipped

    /// <param name="name">Adam or AdamW, as in the config.</param>
    /// <param name="groups">Groups with <see cref="AdamParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="fused">False computes by the plain formulas, which tests compare with (<c>torch_adam</c>).</param>
    public Adam(string name, IReadOnlyList<ParameterGroup> groups, long elements, Device device, bool fused = true)
        : base(groups, elements, device)
    {
        Name = name;
        bool isPlain = !fused || groups.Any(g => g.Params is AdamParams { TorchAdam: true });
        _onePass = !isPlain && CudaAdamKernel.ReasonAgainst(device) is null;
        // libtorch's fused kernels always correct the bias.
        _fused = !isPlain && groups.All(g => g.Params is AdamParams { BiasCorrection: true });
        AddState("exp_avg");
        AddState("exp_avg_sq");
        _stepCount = zeros([], float32, device).DetachFromDisposeScope();
    }

    public override string Name { get; }

    internal override bool NeedsOverflowKnown => !_fused && !_onePass;

    private protected override bool IsFused => _fused;

    internal override void RestoreSteps(long steps)
    {
        base.RestoreSteps(steps);
        using IDisposable noGrad = no_grad();
        _stepCount.fill_(steps).DetachFromDisposeScope();
    }

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _stepCount.Dispose();
    }

    private protected override void UpdateElements(ElementRange part, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states,
        in StepScale scale, Tensor? lowPrecision)
    {
        if (!_onePass)
        {
            base.UpdateElements(part, values, gradients, states, scale, lowPrecision);
            return;
        }

        foreach ((ParameterGroup group, ElementRange range) in GroupsIn(part))
        {
            var config = (AdamParams)group.Params;
            CudaAdamKernel.Run(Range(values), Range(gradients), Range(states[0]), Range(states[1]),
                lowPrecision is null ? null : Range(lowPrecision), _stepCount, scale.Divisor, scale.FoundInf,
                new CudaAdamKernel.Numbers(group.LearningRate, group.Beta1!.Value, group.Beta2!.Value, config.Epsilon,
                    group.WeightDecay, config.AdamWMode, config.BiasCorrection));

            Tensor Range(Tensor flat) => flat.narrow(0, range.Start, range.Length);
        }
    }

    private protected override void BeginStep(in StepScale scale)
    {
        _stepCount.add_(1);
        if (scale.FoundInf is { } overflow)
        {
            _stepCount.sub_(overflow);
        }
    }

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        var config = (AdamParams)group.Params;
        (Tensor m, Tensor v) = (states[0], states[1]);
        if (_fused)
        {
            FusedOptimizers.Adam(values, gradients, m, v, _stepCount, group.LearningRate, group.Beta1!.Value,
                group.Beta2!.Value, group.WeightDecay, config.Epsilon, config.AdamWMode, scale.Divisor, scale.FoundInf);
            return;
        }

        PlainAdam.Update(values, Divided(gradients, scale), m, v, group, config, Steps);
    }
}
