namespace DeepSpeedSharp.Engine.Comm.Logging;

/// <summary>The times of one operation at one message size.</summary>
internal sealed class CommsRecord(string operation, string kind, long bytes, int worldSize)
{
    /// <summary>Times that are kept for the means, the newest.</summary>
    public const int Kept = 1 << 16;

    private readonly List<double> _times = [];
    private int _oldest;

    /// <summary>What the table shows, as "all_reduce".</summary>
    public string Operation => operation;

    /// <summary>Size of the message.</summary>
    public long Bytes => bytes;

    public long Count { get; private set; }

    /// <summary>Sum of all times in ms.</summary>
    public double Total { get; private set; }

    /// <summary>The times that are kept, in ms, the oldest first.</summary>
    public IReadOnlyList<double> Times => [.. _times.Skip(_oldest), .. _times.Take(_oldest)];

    /// <summary>Trimmed mean of the times in ms.</summary>
    public double Average => Bandwidth.TrimmedMean(_times);

    /// <summary>Trimmed means of the bandwidths in Gbit/s.</summary>
    public (double Algorithm, double Bus) Rates()
    {
        (double Algorithm, double Bus)[] rates = [.. _times.Select(time => Bandwidth.Of(kind, bytes, time, worldSize))];
        return (Bandwidth.TrimmedMean([.. rates.Select(r => r.Algorithm)]), Bandwidth.TrimmedMean([.. rates.Select(r => r.Bus)]));
    }

    public void Add(double milliseconds)
    {
        Count++;
        Total += milliseconds;
        if (_times.Count < Kept)
        {
            _times.Add(milliseconds);
            return;
        }

        _times[_oldest] = milliseconds;
        _oldest = (_oldest + 1) % Kept;
    }

    public CommsRecord Copy()
    {
        var copy = new CommsRecord(operation, kind, bytes, worldSize) { Count = Count, Total = Total, _oldest = _oldest };
        copy._times.AddRange(_times);
        return copy;
    }
}
