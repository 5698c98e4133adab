using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Updates flat buffers of parameters from their gradients.</summary>
public abstract class FlatOptimizer : IDisposable
{
    private protected FlatOptimizer(IReadOnlyList<ParameterGroup> groups) => ParameterGroups = groups;

    /// <summary>Its name in the config.</summary>
    public abstract string Name { get; }

    /// <summary>The groups, in the order of the flat buffers.</summary>
    public IReadOnlyList<ParameterGroup> ParameterGroups { get; }

    /// <summary>Updates so far; a skipped step is none.</summary>
    public long Steps { get; internal set; }

    /// <summary>Flat buffers, laid out like the values, by PyTorch's names.</summary>
    internal abstract IReadOnlyList<(string Name, Tensor State)> States { get; }

    /// <summary>Whether the engine must find out about an overflow itself, and leave out the step.</summary>
    internal virtual bool NeedsOverflowKnown => true;

    /// <summary>Updates the values.</summary>
    internal void Step(Tensor values, Tensor gradients, in StepScale scale, Tensor? lowPrecision)
    {
        Steps++;
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Update(values, gradients, scale);
        lowPrecision?.copy_(values);
    }

    /// <summary>Takes back the count of a step that was skipped on the device.</summary>
    internal virtual void UndoStep() => Steps--;

    /// <inheritdoc/>
    public abstract void Dispose();

    private protected abstract void Update(Tensor values, Tensor gradients, in StepScale scale);
}
