using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Logging;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>The communication log: its arithmetic by <c>vectors/comms_logging.json</c>, and its table.</summary>
public sealed class CommsLoggerTests
{
    private static readonly JsonElement Expected = Vectors.Read("comms_logging.json");

    [Fact]
    public void Bandwidth_EveryVector_IsDeepSpeeds()
    {
        Assert.All(Expected.GetProperty("bandwidth").EnumerateArray(), vector =>
        {
            (double algorithm, double bus) = Bandwidth.Of(vector.GetProperty("op").GetString()!, vector.GetProperty("message_bytes").GetInt64(),
                vector.GetProperty("duration_ms").GetDouble(), vector.GetProperty("world_size").GetInt32());

            Assert.Equal(vector.GetProperty("algbw_gbps").GetDouble(), algorithm, 1e-9 * Math.Max(1, algorithm));
            Assert.Equal(vector.GetProperty("busbw_gbps").GetDouble(), bus, 1e-9 * Math.Max(1, bus));
        });
    }

    [Fact]
    public void TrimmedMean_EveryVector_IsDeepSpeeds()
    {
        Assert.All(Expected.GetProperty("trimmed_mean").EnumerateArray(), vector => Assert.Equal(vector.GetProperty("expected").GetDouble(),
            Bandwidth.TrimmedMean([.. vector.GetProperty("data").EnumerateArray().Select(v => v.GetDouble())], vector.GetProperty("trim").GetDouble()), 12));
    }

    [Fact]
    public void SizeText_EveryVector_IsDeepSpeeds()
    {
        Assert.All(Expected.GetProperty("size_text").EnumerateArray(), vector =>
            Assert.Equal(vector.GetProperty("text").GetString(), Bandwidth.SizeText(vector.GetProperty("bytes").GetInt64())));
    }

    [Fact]
    public void Table_Records_AreThoseOfDeepSpeedsSummary()
    {
        var logger = new CommsLogger(new CommsLoggerConfig { Enabled = true }, 0, _ => { });
        for (int i = 0; i < 10; i++)
        {
            logger.Note("all_reduce", "all_reduce", "x", 1 << 20, 2, 0.5);
        }

        logger.Note("broadcast", "broadcast", "y", 1536, 2, 1);

        string[] lines = CommsSummary.Table(logger.Records(), [2.5, double.NaN]).Split('\n');

        Assert.Equal(5, lines.Length);
        Assert.Equal(["Comm. Op", "Message Size", "Count", "Total Latency(ms)", "Avg Latency(ms)", "tput_avg (Gbps)", "busbw_avg (Gbps)", "Straggler(ms)"],
            Cells(lines[0]));
        Assert.Equal(["all_reduce"], Cells(lines[1]));
        Assert.Equal(["1.0 MB", "10", "5.00", "0.50", "33.55", "16.78", "2.50"], Cells(lines[2]));
        Assert.Equal(["1.5 KB", "1", "1.00", "1.00", "0.01", "0.01", "-"], Cells(lines[4]));

        static string[] Cells(string line) => line.Split("  ", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    [Fact]
    public void Straggling_IsWhatARankTookLongerThanTheFastest()
    {
        Assert.Equal(5, CommsSummary.Straggling([3, 4], [[3, 4], [1, 9], [2, 1]]));
        Assert.Equal(double.NaN, CommsSummary.Straggling([3, 4], [[3, 4], [1]]));
    }

    [Fact]
    public void Unpack_WhatWasPacked_IsTheSame()
    {
        var logger = new CommsLogger(new CommsLoggerConfig(), 0, _ => { });
        logger.Note("all_reduce", "all_reduce", "x", 8, 2, 0.5);
        logger.Note("all_reduce", "all_reduce", "x", 8, 2, 0.25);
        logger.Note("send", "send", "y", 0, 2, 1);

        var times = CommsSummary.Unpack(CommsSummary.Pack(logger.Records()));

        Assert.Equal([0.5, 0.25], times[("all_reduce", 8)]);
        Assert.Equal([1.0], times[("send", 0)]);
    }

    [Fact]
    public void Record_MoreTimesThanAreKept_CountsAllAndKeepsTheNewest()
    {
        var record = new CommsRecord("all_reduce", "all_reduce", 8, 2);
        for (int i = 0; i < CommsRecord.Kept + 3; i++)
        {
            record.Add(i);
        }

        Assert.Equal((CommsRecord.Kept + 3, CommsRecord.Kept), (record.Count, record.Times.Count));
        Assert.Equal((3.0, CommsRecord.Kept + 2.0), (record.Times[0], record.Times[^1]));
    }

    [Fact]
    public void Measure_Verbose_PrintsTheCall()
    {
        var lines = new List<string>();
        var logger = new CommsLogger(new CommsLoggerConfig { Verbose = true, Debug = true }, 3, lines.Add);

        Work work = logger.Measure("all_reduce", "gradient bucket 2", 4096, 2, () => { }, () => new Work(Task.CompletedTask));

        Assert.True(work.IsCompleted);
        Assert.StartsWith("rank 3 | comm op: all_reduce | gradient bucket 2 | time (ms): ", Assert.Single(lines), StringComparison.Ordinal);
        Assert.Contains("| msg size: 4.0 KB |", lines[0], StringComparison.Ordinal);
        Assert.Equal("all_reduce of gradient bucket 2", Assert.Single(logger.Records()).Operation);
    }

    [Theory]
    [InlineData(true, "broadcast", true)]
    [InlineData(false, "broadcast", false)]
    [InlineData(false, "all_gather_into_tensor", true)]
    public void Logs_ProfOps_NameEveryFormOfACollective(bool profAll, string operation, bool expected)
    {
        Assert.Equal(expected, new CommsLoggerConfig { ProfAll = profAll, ProfOps = ["all_gather"] }.Logs(operation));
    }

    [Fact]
    public void LogSummary_RanksOfAGroup_HaveEveryCallAndTheStraggler()
    {
        var printed = new List<string>();
        string[] tables = Ranks.Run(2, group =>
        {
            Assert.Equal("", group.LogSummary(showStraggler: true)); // no log yet
            group.Configure(new CommsLoggerConfig { Enabled = true });
            using Tensor tensor = TorchSharp.torch.ones(256);
            using Tensor part = TorchSharp.torch.zeros(128);
            for (int i = 0; i < 3; i++)
            {
                group.AllReduce(tensor);
                group.ReduceScatterAsync(part, tensor).Wait();
            }

            if (group.Rank == 0)
            {
                group.Send(tensor, 1);
            }
            else
            {
                group.Receive(tensor, 0);
            }

            string table = group.LogSummary(showStraggler: true, text =>
            {
                lock (printed)
                {
                    printed.Add(text);
                }
            });
            group.Configure(new CommsLoggerConfig());
            Assert.Equal("", group.LogSummary());
            return table;
        });

        Assert.Equal([tables[0]], printed);
        string[] lines = tables[0].Split('\n');
        Assert.Matches(@"^ +1\.0 KB +3 .*\d$", lines[Array.IndexOf(lines, "all_reduce") + 1]);
        Assert.Matches(@"^ +512\.0 B +3 ", lines[Array.IndexOf(lines, "reduce_scatter_tensor") + 1]);
        Assert.Matches(@"^ +1\.0 KB +1 .* -$", lines[Array.IndexOf(lines, "send") + 1]); // only one rank has sent
        Assert.Contains("\nrecv\n", tables[1], StringComparison.Ordinal);
    }
}
