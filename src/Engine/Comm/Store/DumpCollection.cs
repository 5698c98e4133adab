using System.Text.Json;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Rank 0 gathers the flight recorders of the ranks that are left, and says what they show together.</summary>
internal sealed class DumpCollection(string? folder, FlightRecorder own)
{
    private const int EntriesPerRank = 128;
    private const int LongestDump = 256 << 10;
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(1);

    private readonly Dictionary<int, FlightDump> _dumps = [];
    private TimeSpan _deadline;
    private Verdict? _verdict;

    /// <summary>The last collectives of a rank, as many as the store takes.</summary>
    public static byte[] Fitting(FlightRecorder recorder)
    {
        for (int entries = EntriesPerRank; ; entries /= 2)
        {
            byte[] json = FlightDump.Of(recorder, entries).ToJson();
            if (json.Length <= LongestDump || entries == 0)
            {
                return json;
            }
        }
    }

    public void Start(Verdict verdict, TimeSpan now) => (_verdict, _deadline) = (verdict, now + LongestWait);

    /// <exception cref="InvalidDataException">It is no dump.</exception>
    public void Add(int rank, byte[] json)
    {
        if (json.Length > LongestDump)
        {
            throw new InvalidDataException($"a dump of {json.Length} bytes");
        }

        try
        {
            _dumps[rank] = FlightDump.Parse(json);
        }
        catch (JsonException e)
        {
            throw new InvalidDataException("no dump", e);
        }
    }

    /// <summary>Whether everyone has sent one who can, or it has taken long enough.</summary>
    public bool IsDone(IReadOnlyList<int> present, TimeSpan now) =>
        now >= _deadline || present.All(rank => rank == 0 || _dumps.ContainsKey(rank) || _verdict!.Ranks.Contains(rank));

    /// <summary>Writes them to the folder, if there is one, and what they show to stderr.</summary>
    public void Finish()
    {
        _dumps[0] = FlightDump.Of(own);
        IReadOnlyList<string> findings = FlightAnalysis.Describe(_dumps.Values);
        foreach (string finding in findings)
        {
            Console.Error.WriteLine($"flight recorder: {finding}");
        }

        if (folder is null)
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(folder);
            File.WriteAllText(Path.Combine(folder, "flight-recorder.json"), FlightDump.Combine(_verdict!.Reason, findings,
                _dumps.OrderBy(dump => dump.Key).Select(dump => dump.Value)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"flight recorder: {folder} cannot be written: {e.Message}");
        }
    }
}
