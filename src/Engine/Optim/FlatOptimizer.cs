using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Updates flat buffers of fp32 parameters from their gradients, group by group.</summary>
/// <remarks>
/// Buffers are walked in pieces: whole groups where one kernel does everything, smaller ones where operators need
/// temporaries or gradients have to be widened to fp32, so that neither ever takes the memory of a second model.
/// </remarks>
public abstract class FlatOptimizer : IDisposable
{
    // Temporaries of a piece stay in a CPU's second-level cache; a GPU wants enough work in each kernel.
    private const long CpuPiece = 1 << 16;
    private const long GpuPiece = 1 << 25;

    private readonly List<(string Name, Tensor State)> _states = [];
    private Tensor? _scratch; // [piece] fp32: widened gradients

    private protected FlatOptimizer(IReadOnlyList<ParameterGroup> groups, long elements, Device device)
    {
        (ParameterGroups, Elements, Device) = (groups, elements, device);
    }

    /// <summary>Its name in the config.</summary>
    public abstract string Name { get; }

    /// <summary>The groups, in the order of the flat buffers.</summary>
    public IReadOnlyList<ParameterGroup> ParameterGroups { get; }

    /// <summary>Updates so far; a skipped step is none.</summary>
    public long Steps { get; private set; }

    /// <summary>Flat buffers, laid out like the values, by PyTorch's names.</summary>
    internal IReadOnlyList<(string Name, Tensor State)> States => _states;

    /// <summary>Whether the engine must find out about an overflow itself and leave out the step, because the kernels
    /// do not look at <see cref="StepScale.FoundInf"/>.</summary>
    internal virtual bool NeedsOverflowKnown => true;

    private protected long Elements { get; }

    private protected Device Device { get; }

    /// <summary>Whether an update looks at each element alone, so that a piece may end anywhere.</summary>
    private protected virtual bool IsElementwise => true;

    /// <summary>Whether one kernel updates a piece without temporaries.</summary>
    private protected virtual bool IsFused => false;

    /// <summary>Updates the values.</summary>
    /// <param name="values">[n] fp32, laid out as the groups say.</param>
    /// <param name="gradients">[n] of any floating type, not yet divided; may be changed.</param>
    /// <param name="scale">How the gradients are to be read.</param>
    /// <param name="lowPrecision">[n] bf16 or fp16: receives the new values, rounded; null when the model is fp32.</param>
    internal void Step(Tensor values, Tensor gradients, in StepScale scale, Tensor? lowPrecision)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Steps++;
        UpdateAll(values, gradients, scale, lowPrecision);
    }

    /// <summary>Takes back the count of a step that turned out to be skipped.</summary>
    internal void UndoStep() => Steps--;

    /// <summary>Counts a step that the engine left out; <see cref="UndoStep"/> follows.</summary>
    internal void CountSkippedStep() => Steps++;

    /// <summary>Goes on from a checkpoint.</summary>
    internal virtual void RestoreSteps(long steps) => Steps = steps;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the state.</summary>
    /// <param name="disposing">Always true: there is no finalizer.</param>
    protected virtual void Dispose(bool disposing)
    {
        foreach ((_, Tensor state) in _states)
        {
            state.Dispose();
        }

        _states.Clear();
        _scratch?.Dispose();
    }

    /// <summary>Makes a state of zeros that checkpoints keep.</summary>
    private protected Tensor AddState(string name)
    {
        Tensor state = zeros(Elements, float32, Device).DetachFromDisposeScope();
        _states.Add((name, state));
        return state;
    }

    /// <summary>Updates all groups, piece by piece, and the rounded copy.</summary>
    private protected virtual void UpdateAll(Tensor values, Tensor gradients, in StepScale scale, Tensor? lowPrecision)
    {
        BeginStep(scale);
        foreach (ParameterGroup group in ParameterGroups)
        {
            foreach ((long offset, long elements) in Pieces(group, gradients.dtype == float32))
            {
                using DisposeScope scope = NewDisposeScope();
                Update(group, values.narrow(0, offset, elements), Widened(gradients.narrow(0, offset, elements)), offset, scale);
            }
        }

        lowPrecision?.copy_(values);
    }

    /// <summary>Called once before the pieces of a step.</summary>
    private protected virtual void BeginStep(in StepScale scale)
    {
    }

    /// <summary>Updates a piece of a group, in place.</summary>
    /// <param name="group">The group.</param>
    /// <param name="values">[piece] fp32.</param>
    /// <param name="gradients">[piece] fp32, not yet divided; may be changed.</param>
    /// <param name="offset">Where the piece begins in the flat buffers; states have the same layout.</param>
    /// <param name="scale">How the gradients are to be read.</param>
    private protected abstract void Update(ParameterGroup group, Tensor values, Tensor gradients, long offset, in StepScale scale);

    /// <summary>Divides gradients in place.</summary>
    private protected static Tensor Divided(Tensor gradients, in StepScale scale) =>
        scale.Divisor is { } divisor ? gradients.div_(divisor) : gradients;

    private IEnumerable<(long Offset, long Elements)> Pieces(ParameterGroup group, bool isWide)
    {
        long largest = IsFused && isWide ? long.MaxValue : Device.type == DeviceType.CPU && !IsFused ? CpuPiece : GpuPiece;
        if (IsElementwise)
        {
            for (long start = 0; start < group.Elements; start += largest)
            {
                yield return (group.Offset + start, Math.Min(largest, group.Elements - start));
                if (largest == long.MaxValue)
                {
                    break;
                }
            }

            yield break;
        }

        foreach (ParameterSlot slot in group.Slots)
        {
            yield return (slot.Offset, slot.Elements);
        }
    }

    private Tensor Widened(Tensor gradients)
    {
        if (gradients.dtype == float32)
        {
            return gradients;
        }

        if (_scratch is null || _scratch.numel() < gradients.numel())
        {
            _scratch?.Dispose();
            _scratch = empty(gradients.numel(), float32, Device).DetachFromDisposeScope();
        }

        return _scratch.narrow(0, 0, gradients.numel()).copy_(gradients);
    }
}
