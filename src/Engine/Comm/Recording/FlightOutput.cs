using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>Brings a rank's flight recorder to the user: after a failure and on SIGUSR2.</summary>
internal sealed class FlightOutput : IDisposable
{
    // POSIX leaves the numbers to the system; .NET takes a raw one where it has no name. SIGUSR1 is what Slurm's users ask for.
    private const int UserSignal2OnLinux = 12;

    private readonly FlightRecorder _recorder;
    private readonly string? _folder;
    private readonly PosixSignalRegistration? _onRequest;

    public FlightOutput(FlightRecorder recorder, string? folder)
    {
        (_recorder, _folder) = (recorder, folder);
        if (OperatingSystem.IsLinux())
        {
            _onRequest = PosixSignalRegistration.Create((PosixSignal)UserSignal2OnLinux, context =>
            {
                context.Cancel = true; // by default the signal would end the process
                Write(FlightDump.Of(_recorder), "on request");
            });
        }
    }

    /// <summary>Writes what the ring holds: where this rank stands to stderr, everything to the folder.</summary>
    public void WriteAfterFailure(FlightDump dump) => Write(dump, "after a lost rank");

    public void Dispose() => _onRequest?.Dispose();

    private void Write(FlightDump dump, string occasion)
    {
        string place = "DEEPSPEED_FLIGHT_RECORDER_DIR names no folder for all of it";
        try
        {
            place = _folder is null ? place : $"all of it is in {dump.WriteTo(_folder)}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            place = $"{_folder} cannot be written: {e.Message}";
        }

        FlightRecord[] open = [.. dump.Collectives.Where(entry => entry.Ended is null)];
        string now = open.Length > 0
            ? $"in {open[0]} for {(dump.Time - open[0].Started).TotalSeconds:0.0} s"
            : dump.Collectives.Count > 0 ? $"after {dump.Collectives[^1]}" : "before its first collective";
        Console.Error.WriteLine($"flight recorder of rank {dump.Rank}, {occasion}: step {dump.Step}, {now}; {place}");
    }
}
