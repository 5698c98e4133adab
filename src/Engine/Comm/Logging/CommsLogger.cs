using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Logging;

/// <summary>Times and bandwidths of this rank's collectives, per operation and message size (<c>comms_logger</c>).</summary>
/// <remarks>As in DeepSpeed, a collective that is logged is waited for, so that its time is its own: communication does not
/// overlap with computation meanwhile.</remarks>
/// <param name="config">What to log.</param>
/// <param name="rank">This rank of the run.</param>
/// <param name="print">Takes the lines of <c>verbose</c>.</param>
internal sealed class CommsLogger(CommsLoggerConfig config, int rank, Action<string> print)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(string Operation, long Bytes), CommsRecord> _records = [];

    /// <summary>DeepSpeed's name of a collective.</summary>
    public static string NameOf(CollectiveKind kind) => kind switch
    {
        CollectiveKind.AllReduce => "all_reduce",
        CollectiveKind.Reduce => "reduce",
        CollectiveKind.ReduceScatter => "reduce_scatter_tensor",
        CollectiveKind.AllGather => "all_gather_into_tensor",
        CollectiveKind.Broadcast => "broadcast",
        CollectiveKind.Scatter => "scatter",
        CollectiveKind.Gather => "gather",
        CollectiveKind.AllToAll => "all_to_all_single",
        CollectiveKind.Barrier => "barrier",
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    /// <summary>Whether an operation is logged.</summary>
    /// <param name="operation">DeepSpeed's name.</param>
    public bool Logs(string operation) => config.Logs(operation);

    /// <summary>Runs a collective and notes it.</summary>
    /// <param name="operation">DeepSpeed's name.</param>
    /// <param name="what">What is moved.</param>
    /// <param name="bytes">Size of the message, as for <see cref="Bandwidth.Of"/>.</param>
    /// <param name="worldSize">Number of ranks of the group.</param>
    /// <param name="before">Waits for the device, so that only the collective is measured; does nothing on the CPU.</param>
    /// <param name="start">Starts it.</param>
    /// <returns>Its handle, ended.</returns>
    public Work Measure(string operation, string what, long bytes, int worldSize, Action before, Func<Work> start)
    {
        before();
        long begun = Stopwatch.GetTimestamp();
        Work work = start();
        try
        {
            work.Completion.GetAwaiter().GetResult();
        }
        catch (PeerLostException)
        {
            return work; // the caller's wait throws it
        }

        Note(config.Debug ? $"{operation} of {what}" : operation, operation, what, bytes, worldSize, Stopwatch.GetElapsedTime(begun).TotalMilliseconds);
        return work;
    }

    /// <summary>The records so far, in the order of operations and sizes.</summary>
    public IReadOnlyList<CommsRecord> Records()
    {
        lock (_lock)
        {
            return [.. _records.Values.OrderBy(r => r.Operation, StringComparer.Ordinal).ThenBy(r => r.Bytes).Select(r => r.Copy())];
        }
    }

    internal void Note(string key, string operation, string what, long bytes, int worldSize, double milliseconds)
    {
        (double algorithm, double bus) = Bandwidth.Of(operation, bytes, milliseconds, worldSize);
        lock (_lock)
        {
            if (!_records.TryGetValue((key, bytes), out CommsRecord? record))
            {
                _records[(key, bytes)] = record = new CommsRecord(key, operation, bytes, worldSize);
            }

            record.Add(milliseconds);
        }

        if (config.Verbose)
        {
            print(string.Create(CultureInfo.InvariantCulture, $"rank {rank} | comm op: {operation} | {what} | time (ms): {milliseconds:0.00} | "
                + $"msg size: {Bandwidth.SizeText(bytes)} | algbw (Gbps): {algorithm:0.00} | busbw (Gbps): {bus:0.00}"));
        }
    }
}
