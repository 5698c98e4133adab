using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Logging;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

// The communication log. What ranks tell each other in bytes and texts is not in it.
public sealed partial class ProcessGroup
{
    private CommsLogger? _logger;

    /// <summary>Starts the log of this group's collectives, and of groups that are made from it later (<c>deepspeed.comm.configure</c>);
    /// <c>comms_logger</c> of an engine's config does it too.</summary>
    /// <param name="config">What to log; not <see cref="CommsLoggerConfig.Enabled"/> ends the log.</param>
    /// <param name="print">Takes the lines of <see cref="CommsLoggerConfig.Verbose"/>; null prints to the console.</param>
    public void Configure(CommsLoggerConfig config, Action<string>? print = null) =>
        _logger = config.Enabled ? new CommsLogger(config, Environment.Rank!.Value, print ?? Console.WriteLine) : null;

    /// <summary>The log as a table: for each operation and message size how often, how long, and how fast by the algorithm and by
    /// the bus (<c>deepspeed.comm.log_summary</c>). Every rank of the group must call it.</summary>
    /// <param name="showStraggler">Adds how long this rank took longer than the fastest, summed over calls.</param>
    /// <param name="print">Takes the table on rank 0; null prints to the console.</param>
    /// <returns>This rank's table; empty without a log.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public string LogSummary(bool showStraggler = false, Action<string>? print = null)
    {
        if (_logger is null)
        {
            return "";
        }

        IReadOnlyList<CommsRecord> records = _logger.Records();
        double[]? straggling = null;
        if (showStraggler)
        {
            var all = AllGather(CommsSummary.Pack(records), "communication log").Select(CommsSummary.Unpack).ToList();
            straggling = [.. records.Select(record =>
                CommsSummary.Straggling(record.Times, [.. all.Select(times => times.GetValueOrDefault((record.Operation, record.Bytes)) ?? [])]))];
        }

        string table = CommsSummary.Table(records, straggling);
        if (Rank == 0)
        {
            (print ?? Console.WriteLine)(table);
        }

        return table;
    }

    private Work Logged(IReadOnlyList<Collective> calls, Func<Work> start)
    {
        if (_logger is null || calls.Count == 0)
        {
            return start();
        }

        // One rank's part of what is gathered or scattered, as DeepSpeed counts it.
        bool isInParts = calls[0].Kind is CollectiveKind.AllGather or CollectiveKind.ReduceScatter;
        long bytes = calls.Sum(call => call.Bytes) / (isInParts ? WorldSize : 1);
        return Logged(CommsLogger.NameOf(calls[0].Kind) + (calls.Count > 1 ? "_coalesced" : ""), calls[0].Name, bytes, calls[0].Device, start);
    }

    private Work Logged(string operation, string name, long bytes, torch.Device? device, Func<Work> start)
    {
        if (_logger is null || !_logger.Logs(operation))
        {
            return start();
        }

        return _logger.Measure(operation, name, bytes, WorldSize, () =>
        {
            if (device?.type == DeviceType.CUDA)
            {
                torch.cuda.synchronize(device);
            }
        }, start);
    }
}
