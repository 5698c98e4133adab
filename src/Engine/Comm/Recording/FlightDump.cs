using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>What a flight recorder held at one moment, as it is written to files.</summary>
/// <param name="Rank">Whose.</param>
/// <param name="Host">Where it ran.</param>
/// <param name="ProcessId">Its process there.</param>
/// <param name="Time">When it was taken.</param>
/// <param name="Step">The optimizer step.</param>
/// <param name="Groups">The process groups and how far the rank had come in each.</param>
/// <param name="Collectives">The last ones, the oldest first.</param>
internal sealed record FlightDump(int Rank, string Host, int ProcessId, DateTimeOffset Time, long Step,
    IReadOnlyList<FlightDumpGroup> Groups, IReadOnlyList<FlightRecord> Collectives)
{
    private static readonly JsonSerializerOptions Format = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter() },
    };

    private static readonly JsonSerializerOptions Indented = new(Format) { WriteIndented = true };

    /// <summary>Takes what a recorder holds.</summary>
    /// <param name="recorder">Whose.</param>
    /// <param name="largest">At most so many of the last collectives.</param>
    public static FlightDump Of(FlightRecorder recorder, int largest = int.MaxValue)
    {
        IReadOnlyList<FlightRecord> entries = recorder.Entries();
        return new FlightDump(recorder.Rank, Environment.MachineName, Environment.ProcessId, TimeProvider.System.GetUtcNow(), recorder.Step,
            [.. recorder.Groups().Select(group => new FlightDumpGroup(group.Name, group.Ranks, group.LastSequence))],
            [.. entries.Skip(Math.Max(0, entries.Count - largest))]);
    }

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, Format);

    public string ToText() => JsonSerializer.Serialize(this, Indented);

    /// <exception cref="JsonException">It is no dump.</exception>
    public static FlightDump Parse(ReadOnlySpan<byte> json) =>
        JsonSerializer.Deserialize<FlightDump>(json, Format) ?? throw new JsonException("an empty dump");

    /// <summary>All dumps in one document, with what they say together.</summary>
    public static string Combine(string verdict, IReadOnlyList<string> findings, IEnumerable<FlightDump> dumps) =>
        JsonSerializer.Serialize(new { Verdict = verdict, Findings = findings, Dumps = dumps }, Indented);

    /// <summary>Writes it to a folder, which is made if it does not exist.</summary>
    /// <returns>The file.</returns>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be written.</exception>
    public string WriteTo(string folder)
    {
        Directory.CreateDirectory(folder);
        string file = Path.Combine(folder, $"flight-recorder-rank-{Rank}.json");
        File.WriteAllText(file, ToText());
        return file;
    }
}

/// <summary>A process group in a dump.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Ranks">Its members.</param>
/// <param name="Entered">How many collectives the rank had entered.</param>
internal sealed record FlightDumpGroup(string Name, IReadOnlyList<int> Ranks, long Entered);
