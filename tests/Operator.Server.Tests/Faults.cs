namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>What becomes of a request on its way through the proxy.</summary>
internal enum Fault
{
    None,
    Conflict,
    Gone,
    TooManyRequests,
    InternalError,
    Unavailable,

    /// <summary>The request does not arrive, and nobody says so.</summary>
    LostRequest,

    /// <summary>The connection breaks before the request arrives.</summary>
    BrokenRequest,

    /// <summary>The request is carried out, and its answer never comes.</summary>
    LostAnswer,

    /// <summary>The request is carried out, and the connection breaks before its answer comes.</summary>
    BrokenAnswer,

    /// <summary>A watch that says nothing any more, though its connection stays.</summary>
    HalfOpen,

    /// <summary>A watch that ends, in the middle of a line if that happens to be there.</summary>
    CutOff,

    /// <summary>A watch that says that its version is gone.</summary>
    Expired,

    /// <summary>A watch whose lines come late.</summary>
    Late,
}

/// <summary>Draws faults.</summary>
/// <param name="seed">Repeats the draws, as far as requests come in the same order.</param>
internal sealed class Faults(int seed)
{
    private static readonly Fault[] OfWrites =
    [
        Fault.TooManyRequests, Fault.InternalError, Fault.InternalError, Fault.Unavailable, Fault.BrokenRequest, Fault.BrokenRequest,
        Fault.BrokenAnswer, Fault.BrokenAnswer, Fault.Conflict, Fault.Conflict,
    ];

    private static readonly Fault[] OfReads = [Fault.Gone, Fault.TooManyRequests, Fault.InternalError, Fault.Unavailable, Fault.BrokenRequest];
    private static readonly Fault[] OfWatches = [Fault.CutOff, Fault.CutOff, Fault.Expired, Fault.Late, Fault.Late, Fault.HalfOpen];
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);
    private readonly SortedDictionary<Fault, int> _drawn = [];

    /// <summary>Share of requests that fail.</summary>
    public double Rate { get; set; }

    /// <summary>What happens to every watch; null to draw.</summary>
    public Fault? OfEveryWatch { get; init; }

    /// <summary>Seconds after which a watch that is to end has ended.</summary>
    public double LongestWatch { get; init; } = 15;

    /// <summary>How often each was drawn.</summary>
    public IReadOnlyDictionary<Fault, int> Drawn
    {
        get
        {
            lock (_lock)
            {
                return new SortedDictionary<Fault, int>(_drawn);
            }
        }
    }

    /// <summary>Draws the fault of a request.</summary>
    public Fault Draw(string method, string path, bool isWatch)
    {
        lock (_lock)
        {
            if (isWatch && OfEveryWatch is { } always)
            {
                _drawn[always] = _drawn.GetValueOrDefault(always) + 1;
                return always;
            }

            // Leases fail as well, but without a leader nothing would be tested.
            double rate = path.Contains("/leases", StringComparison.Ordinal) ? Rate / 4 : isWatch ? Math.Min(1, Rate * 3) : Rate;
            if (_random.NextDouble() >= rate)
            {
                return Fault.None;
            }

            // Those that last until the client gives up would fill the run.
            Fault fault = !isWatch && _random.Next(40) == 0 ? (_random.Next(2) == 0 ? Fault.LostRequest : Fault.LostAnswer)
                : isWatch ? Of(OfWatches) : method == "GET" ? Of(OfReads) : Of(OfWrites);
            fault = fault == Fault.Conflict && method == "POST" ? Fault.InternalError : fault;
            _drawn[fault] = _drawn.GetValueOrDefault(fault) + 1;
            return fault;
        }
    }

    /// <summary>A time below a limit.</summary>
    public TimeSpan Time(double seconds)
    {
        lock (_lock)
        {
            return TimeSpan.FromSeconds(_random.NextDouble() * seconds);
        }
    }

    private Fault Of(Fault[] faults) => faults[_random.Next(faults.Length)];
}
