using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Ranks as processes that share memory, one of which is killed.</summary>
public sealed class KilledRankTests
{
    private const string Child = nameof(Rank_InAProcess_SumsForEver);

    [Fact]
    public async Task AllReduce_RankKilledWithSigkill_OthersNameItAndNothingIsLeftInDevShm()
    {
        string[] before = Directory.GetFileSystemEntries("/dev/shm");
        int port = TestPorts.Free();
        Process[] ranks = [.. Enumerable.Range(0, 3).Select(rank => Start(rank, port))];
        try
        {
            // Each says so when it has done the first sums.
            await Task.WhenAll(ranks.Select(rank => LineAsync(rank, "summing")));
            ranks[1].Kill();
            string[] ends = await Task.WhenAll(LineAsync(ranks[0], "ended by the loss"), LineAsync(ranks[2], "ended by the loss"));

            Assert.All(ends, end => Assert.Contains("lost rank 1", end, StringComparison.Ordinal));
            await Task.WhenAll(ranks.Select(rank => rank.WaitForExitAsync(TestContext.Current.CancellationToken)))
                .WaitAsync(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken);
        }
        finally
        {
            foreach (Process rank in ranks)
            {
                rank.Kill();
                rank.Dispose();
            }
        }

        Assert.Equal(before.Order(), Directory.GetFileSystemEntries("/dev/shm").Intersect(before).Order());
        Assert.DoesNotContain(Directory.EnumerateFiles("/dev/shm"), file => file.Contains("deepspeedsharp", StringComparison.Ordinal));
    }

    /// <summary>What the processes of the test above run.</summary>
    [Fact(Explicit = true)]
    public void Rank_InAProcess_SumsForEver()
    {
        using ProcessGroup group = DeepSpeed.InitDistributed(verbose: false);
        Assert.Contains("shared memory with 2 on this host", group.Description, StringComparison.Ordinal);
        using Tensor values = ones(300_000);
        try
        {
            for (long i = 0; ; i++)
            {
                values.fill_(1).DetachFromDisposeScope();
                group.AllReduce(values, "sums");
                if (i == 20)
                {
                    Console.Error.WriteLine("summing");
                }
            }
        }
        catch (PeerLostException lost)
        {
            Console.Error.WriteLine($"ended by the loss: lost rank {lost.Rank}: {lost.Message.ReplaceLineEndings(" ")}");
        }
    }

    private static Process Start(int rank, int port)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardError = true, RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(KilledRankTests).Assembly.Location);
        }

        foreach (string argument in new[] { "-explicit", "only", "-method", $"{typeof(KilledRankTests).FullName}.{Child}" })
        {
            start.ArgumentList.Add(argument);
        }

        foreach ((string name, string value) in new[] { ("RANK", Text(rank)), ("LOCAL_RANK", Text(rank)), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", Text(port)), ("OMP_NUM_THREADS", "1") })
        {
            start.Environment[name] = value;
        }

        Process process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        return process;
    }

    private static async Task<string> LineAsync(Process process, string wanted)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromMinutes(2));
        var seen = new List<string>();
        while (await process.StandardError.ReadLineAsync(limit.Token) is { } line)
        {
            seen.Add(line);
            if (line.Contains(wanted, StringComparison.Ordinal))
            {
                return line;
            }
        }

        throw new InvalidOperationException($"no \"{wanted}\" among: {string.Join(" | ", seen)}");
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
