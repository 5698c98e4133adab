using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Adam with L2 or decoupled weight decay, on one flat fp32 buffer.</summary>
/// <remarks>
/// Kingma and Ba, "Adam", 2015, algorithm 1; decoupled decay: Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", 2019, algorithm 2. As in DeepSpeed, the type "Adam" decays decoupled unless adam_w_mode is false.
/// </remarks>
public sealed class Adam : IDisposable
{
    private readonly AdamParams _config;
    private readonly bool _fused;
    private readonly Tensor _stepCount;

    internal Adam(AdamParams config, Tensor values, bool fused = true)
    {
        _config = config;
        // The fused kernels always correct the bias.
        _fused = fused && config.BiasCorrection;
        LearningRate = config.LearningRate;
        using IDisposable noGrad = no_grad();
        FirstMoment = zeros_like(values).DetachFromDisposeScope();
        SecondMoment = zeros_like(values).DetachFromDisposeScope();
        _stepCount = zeros([], float32, values.device).DetachFromDisposeScope();
    }

    /// <summary>Learning rate of the next update.</summary>
    public double LearningRate { get; set; }

    /// <summary>Learning rate of the config.</summary>
    public double InitialLearningRate => _config.LearningRate;

    /// <summary>Number of updates so far.</summary>
    public long Steps { get; internal set; }

    /// <summary>[n] fp32: running mean of the gradient.</summary>
    internal Tensor FirstMoment { get; }

    /// <summary>[n] fp32: running mean of the squared gradient.</summary>
    internal Tensor SecondMoment { get; }

    /// <summary>Updates the parameters in place.</summary>
    /// <param name="values">[n] fp32 parameters.</param>
    /// <param name="gradients">[n] fp32 gradients; the L2 mode without fused kernel changes them.</param>
    internal void Step(Tensor values, Tensor gradients)
    {
        Steps++;
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (_fused)
        {
            _stepCount.fill_(Steps);
            FusedAdam.Step(values, gradients, FirstMoment, SecondMoment, _stepCount, LearningRate, _config.Betas[0],
                _config.Betas[1], _config.WeightDecay, _config.Epsilon, _config.AdamWMode);
            return;
        }

        PlainStep(values, gradients);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        FirstMoment.Dispose();
        SecondMoment.Dispose();
        _stepCount.Dispose();
    }

    // The formulas as they stand in the papers; what the fused kernels are tested against.
    private void PlainStep(Tensor p, Tensor g)
    {
        (double b1, double b2) = (_config.Betas[0], _config.Betas[1]);
        if (_config.AdamWMode)
        {
            p.mul_(1 - LearningRate * _config.WeightDecay);
        }
        else
        {
            g = g.add(p, alpha: _config.WeightDecay);
        }

        FirstMoment.mul_(b1).add_(g, alpha: 1 - b1);
        SecondMoment.mul_(b2).addcmul_(g, g, value: 1 - b2);
        double correction1 = _config.BiasCorrection ? 1 - Math.Pow(b1, Steps) : 1;
        double correction2 = _config.BiasCorrection ? 1 - Math.Pow(b2, Steps) : 1;
        Tensor denominator = SecondMoment.sqrt().div_(Math.Sqrt(correction2)).add_(_config.Epsilon);
        p.addcdiv_(FirstMoment, denominator, value: -LearningRate / correction1);
    }
}
