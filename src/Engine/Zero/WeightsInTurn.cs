namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Makes the parameters of stage 3 whole one after the other, for a reader on one rank: every rank takes part, and none
/// ever holds more than one.</summary>
/// <param name="parameters">The parameters.</param>
internal sealed class WeightsInTurn(IReadOnlyList<PartitionedParameter> parameters) : IDisposable
{
    private int _current = -1;
    private GatheredScope? _whole;

    /// <summary>Reads a part of a parameter; no parameter before an earlier one.</summary>
    /// <param name="index">The parameter.</param>
    /// <param name="part">Elements of it.</param>
    /// <returns>A copy of the elements: the parameter's memory goes with the next one. The caller disposes it.</returns>
    public Tensor Read(int index, ElementRange part)
    {
        while (_current < index)
        {
            Next();
        }

        using Tensor whole = parameters[index].Leaf.detach();
        using Tensor flat = whole.view(-1);
        using Tensor elements = flat.narrow(0, part.Start, part.Length);
        return elements.clone();
    }

    /// <summary>Takes part in the rest: all of it on a rank that does not read, what is left on one that failed.</summary>
    public void Dispose()
    {
        while (_current < parameters.Count)
        {
            Next();
        }
    }

    private void Next()
    {
        _whole?.Dispose();
        _current++;
        _whole = _current < parameters.Count ? new GatheredScope([parameters[_current].Leaf], null) : null;
    }
}
