using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Precision;

/// <summary>Chooses the factor that lifts small fp16 gradients out of the range where they become zero.</summary>
/// <remarks>
/// Micikevicius et al., "Mixed Precision Training", 2018, section 3.2, with DeepSpeed's hysteresis; one rule for every
/// ZeRO stage. An overflow first uses up hysteresis, then halves the scale; a window of steps without overflow doubles
/// it. Pure arithmetic, so every rank that is told the same overflows has the same scale. With a hysteresis of 1 and
/// <see cref="FailsAtMinimum"/> off it is exactly the simpler rule the original uses without ZeRO.
/// </remarks>
public sealed class LossScaler
{
    private const double Factor = 2;

    private readonly int _window;
    private readonly int _hysteresis;
    private readonly bool _consecutive;
    private long _iteration;
    private long _lastOverflow = -1;
    private int _hysteresisLeft;

    private LossScaler(double scale, bool isDynamic, int window, int hysteresis, bool consecutive, double minimum)
    {
        (Scale, IsDynamic, Minimum) = (scale, isDynamic, minimum);
        (_window, _hysteresis, _consecutive, _hysteresisLeft) = (window, hysteresis, consecutive, hysteresis);
    }

    /// <summary>Factor of the next loss. A step divides its gradients by the scale its own backward used, so read
    /// this before <see cref="Update"/>.</summary>
    public double Scale { get; private set; }

    /// <summary>Whether overflows and quiet windows change the scale.</summary>
    public bool IsDynamic { get; }

    /// <summary>The smallest scale.</summary>
    public double Minimum { get; }

    /// <summary>Whether an overflow at the smallest scale ends the run (the default); otherwise the scale stays.</summary>
    public bool FailsAtMinimum { get; private init; } = true;

    /// <summary>Overflows that the scale still bears, plus one.</summary>
    public int HysteresisLeft => _hysteresisLeft;

    /// <summary>The scaler that a config asks for: dynamic, static where <c>fp16.loss_scale</c> is set, and 1 without
    /// fp16.</summary>
    /// <param name="config">The <c>fp16</c> section.</param>
    /// <returns>The scaler.</returns>
    public static LossScaler Create(Fp16Config config) => config switch
    {
        { Enabled: false } => Static(1),
        { LossScale: > 0 } => Static(config.LossScale),
        _ => Dynamic(Math.Pow(2, config.InitialScalePower), config.LossScaleWindow, config.Hysteresis,
            config.ConsecutiveHysteresis, config.MinLossScale),
    };

    /// <summary>A scale that never changes; an overflow still skips its step.</summary>
    /// <param name="scale">The factor, above 0 (<c>fp16.loss_scale</c>; 1 where losses are not scaled).</param>
    /// <returns>The scaler.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The scale is not a finite number above 0.</exception>
    public static LossScaler Static(double scale)
    {
        CheckScale(scale, nameof(scale));
        return new LossScaler(scale, isDynamic: false, window: 1, hysteresis: 1, consecutive: false, minimum: scale);
    }

    /// <summary>A scale that follows the overflows; the defaults are DeepSpeed's.</summary>
    /// <param name="initialScale">First scale (2 to the power of <c>fp16.initial_scale_power</c>).</param>
    /// <param name="window">Optimizer steps without overflow before the scale doubles, at least 1.</param>
    /// <param name="hysteresis">Overflows before the scale halves, at least 1.</param>
    /// <param name="consecutiveHysteresis">True: each step without overflow refills the hysteresis. False: only a
    /// doubling does.</param>
    /// <param name="minimum">Smallest scale, above 0.</param>
    /// <param name="failsAtMinimum">Whether an overflow at the smallest scale ends the run.</param>
    /// <returns>The scaler.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    public static LossScaler Dynamic(double initialScale = 65536, int window = 1000, int hysteresis = 2,
        bool consecutiveHysteresis = false, double minimum = 1, bool failsAtMinimum = true)
    {
        CheckScale(initialScale, nameof(initialScale));
        CheckScale(minimum, nameof(minimum));
        ArgumentOutOfRangeException.ThrowIfLessThan(window, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(hysteresis, 1);
        return new LossScaler(initialScale, isDynamic: true, window, hysteresis, consecutiveHysteresis, minimum)
        {
            FailsAtMinimum = failsAtMinimum,
        };
    }

    /// <summary>Learns how an optimizer step went.</summary>
    /// <param name="overflow">Whether a gradient of any rank was infinite or not a number; all ranks pass the same.</param>
    /// <returns>Whether the scale changed.</returns>
    /// <exception cref="LossScaleException">It overflowed at the smallest scale; nothing changed.</exception>
    public bool Update(bool overflow)
    {
        double before = Scale;
        if (IsDynamic && overflow)
        {
            Shrink();
            _lastOverflow = _iteration;
        }
        else if (IsDynamic)
        {
            Grow();
        }

        _iteration++;
        return Scale != before;
    }

    /// <summary>Everything a checkpoint has to keep.</summary>
    public LossScalerState State => new(Scale, _iteration, _lastOverflow, _hysteresisLeft);

    /// <summary>Goes on from a checkpoint. A static scale stays the config's, whatever was saved.</summary>
    /// <param name="state">What <see cref="State"/> gave.</param>
    /// <exception cref="ArgumentException">No scaler can have been in this state.</exception>
    public void Restore(LossScalerState state)
    {
        if (!(state.Scale > 0) || state.Iteration < 0 || state.LastOverflow < -1 || state.LastOverflow >= state.Iteration
            || state.HysteresisLeft < 1)
        {
            throw new ArgumentException($"no loss scaler can be in this state: {state}", nameof(state));
        }

        (_iteration, _lastOverflow) = (state.Iteration, state.LastOverflow);
        _hysteresisLeft = Math.Min(state.HysteresisLeft, _hysteresis);
        Scale = IsDynamic ? Math.Max(state.Scale, Minimum) : Scale;
    }

    private void Shrink()
    {
        if (_hysteresisLeft > 1)
        {
            _hysteresisLeft--;
            return;
        }

        if (Scale == Minimum && FailsAtMinimum)
        {
            throw new LossScaleException(Minimum, _iteration);
        }

        Scale = Math.Max(Scale / Factor, Minimum);
    }

    private void Grow()
    {
        long quiet = _iteration - _lastOverflow - 1;
        bool doubles = quiet > 0 && quiet % _window == 0;
        if (_consecutive || doubles)
        {
            _hysteresisLeft = _hysteresis;
        }

        if (doubles)
        {
            Scale *= Factor;
        }
    }

    private static void CheckScale(double scale, string name)
    {
        if (!(scale > 0) || !double.IsFinite(scale))
        {
            throw new ArgumentOutOfRangeException(name, scale, "a loss scale is a finite number above 0");
        }
    }
}

/// <summary>Where a <see cref="LossScaler"/> stands.</summary>
/// <param name="Scale">Factor of the next loss.</param>
/// <param name="Iteration">Optimizer steps seen, skipped ones included.</param>
/// <param name="LastOverflow">Number of the last step that overflowed, from 0; -1 when none did.</param>
/// <param name="HysteresisLeft">Overflows that the scale still bears, plus one.</param>
public readonly record struct LossScalerState(double Scale, long Iteration, long LastOverflow, int HysteresisLeft);

/// <summary>fp16 gradients overflow even at the smallest loss scale; going on would only skip steps.</summary>
/// <param name="minimum">The smallest scale.</param>
/// <param name="iteration">Optimizer steps before this one, skipped ones included.</param>
public sealed class LossScaleException(double minimum, long iteration) : Exception(string.Create(
    System.Globalization.CultureInfo.InvariantCulture,
    $"after {iteration} steps the gradients are infinite or not a number at the smallest loss scale, {minimum}, so no "
    + $"step can be taken; look for such values in the data, lower the learning rate, or train in bf16 "
    + $"(\"bf16\": {{\"enabled\": true}}). fp16.min_loss_scale sets the smallest scale"));
