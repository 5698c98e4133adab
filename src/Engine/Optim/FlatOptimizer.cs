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

    /// <summary>Flat buffers, laid out like the values, by PyTorch's names, wherever they are.</summary>
    internal IReadOnlyList<(string Name, IShardBuffer State)> States { get; private set; } = [];

    /// <summary>Names of the states.</summary>
    internal IEnumerable<string> StateNames => _states.Select(s => s.Name);

    /// <summary>Whether the engine must find out about an overflow itself and leave out the step, because the kernels
    /// do not look at <see cref="StepScale.FoundInf"/>.</summary>
    internal virtual bool NeedsOverflowKnown => true;

    private protected long Elements { get; }

    private protected Device Device { get; }

    /// <summary>Whether an update looks at each element alone, so that a piece may end anywhere.</summary>
    internal virtual bool IsElementwise => true;

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
        using DisposeScope tensors = NewDisposeScope();
        Begin(scale);
        UpdateElements(new ElementRange(0, Elements), values, gradients, [.. _states.Select(s => s.State)], scale, lowPrecision);
    }

    /// <summary>Begins an update that is made in parts: <see cref="UpdatePart"/> follows for each.</summary>
    internal void BeginUpdate(in StepScale scale)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope tensors = NewDisposeScope();
        Begin(scale);
    }

    private void Begin(in StepScale scale)
    {
        Steps++;
        BeginStep(scale);
    }

    /// <summary>Updates a part of the values, with states that may be anywhere. Only of optimizers that are
    /// <see cref="IsElementwise"/>, unless the part is everything.</summary>
    /// <param name="part">The elements, counted in the buffers that the groups describe.</param>
    /// <param name="values">[part] fp32.</param>
    /// <param name="gradients">[part], as for <see cref="Step"/>.</param>
    /// <param name="states">[part] each, in the order of <see cref="StateNames"/>.</param>
    /// <param name="scale">As for <see cref="Step"/>.</param>
    /// <param name="lowPrecision">[part], as for <see cref="Step"/>.</param>
    internal void UpdatePart(ElementRange part, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states, in StepScale scale,
        Tensor? lowPrecision)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        UpdateElements(part, values, gradients, states, scale, lowPrecision);
    }

    /// <summary>Says where the states are, when they are kept elsewhere: an optimizer of 0 elements has none of its own.</summary>
    internal void KeepStatesIn(IReadOnlyList<IShardBuffer> buffers) => States = [.. StateNames.Zip(buffers)];

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
    private protected void AddState(string name)
    {
        Tensor state = zeros(Elements, float32, Device).DetachFromDisposeScope();
        _states.Add((name, state));
        States = [.. States, (name, new TensorShard(state))];
    }

    /// <summary>The groups that have elements in a part, and which, counted from its start.</summary>
    private protected IEnumerable<(ParameterGroup Group, ElementRange Range)> GroupsIn(ElementRange part) => ParameterGroups
        .Select(group => (group, new ElementRange(group.Offset, group.Elements).Intersect(part)))
        .Where(pair => pair.Item2.Length > 0)
        .Select(pair => (pair.group, pair.Item2.From(part.Start)));

    /// <summary>Updates a part, piece by piece, and its rounded copy.</summary>
    private protected virtual void UpdateElements(ElementRange part, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states,
        in StepScale scale, Tensor? lowPrecision)
    {
        var pieces = new Tensor[states.Count];
        foreach ((ParameterGroup group, ElementRange range) in GroupsIn(part))
        {
            foreach ((long offset, long elements) in Pieces(group, range, gradients.dtype == float32))
            {
                using DisposeScope scope = NewDisposeScope();
                for (int i = 0; i < pieces.Length; i++)
                {
                    pieces[i] = states[i].narrow(0, offset, elements);
                }

                Update(group, values.narrow(0, offset, elements), Widened(gradients.narrow(0, offset, elements)), pieces,
                    part.Start + offset, scale);
            }
        }

        lowPrecision?.copy_(values);
    }

    /// <summary>Called once before the parts of a step.</summary>
    private protected virtual void BeginStep(in StepScale scale)
    {
    }

    /// <summary>Updates a piece of a group, in place.</summary>
    /// <param name="group">The group.</param>
    /// <param name="values">[piece] fp32.</param>
    /// <param name="gradients">[piece] fp32, not yet divided; may be changed.</param>
    /// <param name="states">[piece] each, in the order in which they were added.</param>
    /// <param name="offset">Where the piece begins in the flat buffers.</param>
    /// <param name="scale">How the gradients are to be read.</param>
    private protected abstract void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale);

    /// <summary>Divides gradients in place.</summary>
    private protected static Tensor Divided(Tensor gradients, in StepScale scale) =>
        scale.Divisor is { } divisor ? gradients.div_(divisor) : gradients;

    private IEnumerable<(long Offset, long Elements)> Pieces(ParameterGroup group, ElementRange range, bool isWide)
    {
        long largest = IsFused && isWide ? long.MaxValue : Device.type == DeviceType.CPU && !IsFused ? CpuPiece : GpuPiece;
        if (IsElementwise)
        {
            for (long start = 0; start < range.Length; start += largest)
            {
                yield return (range.Start + start, Math.Min(largest, range.Length - start));
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
