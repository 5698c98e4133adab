using System.Globalization;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Training over three hosts of two ranks each, one of them behind a slow cable, until a host is lost.</summary>
public sealed class MultiHostTests : IDisposable
{
    private const int Hosts = 3;
    private const int RanksPerHost = 2;
    private const int SlowHost = 1;
    private const int LostHost = 2;
    private const int Port = 29500;

    private readonly string _folder = Directory.CreateTempSubdirectory("multi-host-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void CableCut_EveryOtherRankNamesBothRanksOfTheHost()
    {
        (int[] codes, string[] outputs) = Run((network, _) => network.Cut(LostHost));

        Assert.All(codes, code => Assert.Equal(69, code));
        Assert.All(outputs[..4], output => Assert.Contains("lost ranks 4, 5 at 10.77.0.3", output, StringComparison.Ordinal));
        Assert.All(outputs[..4], output => Assert.Contains("no heartbeat for 8 s", output, StringComparison.Ordinal));
        Assert.All(outputs[4..], output => Assert.Contains("lost rank 0 at 10.77.0.1", output, StringComparison.Ordinal));
    }

    [Fact]
    public void HostPaused_EveryOtherRankNamesBothRanksOfTheHost()
    {
        (int[] codes, string[] outputs) = Run((_, world) =>
        {
            world[4].Signal("STOP");
            world[5].Signal("STOP");
        });

        Assert.All(codes, code => Assert.Equal(69, code));
        Assert.All(outputs[..4], output => Assert.Contains("lost ranks 4, 5 at 10.77.0.3", output, StringComparison.Ordinal));
        Assert.All(outputs[..4], output => Assert.Contains("last collective", output, StringComparison.Ordinal));
        string dump = File.ReadAllText(Path.Combine(_folder, "dumps", "flight-recorder.json"));
        Assert.Contains("no dump of ranks 4, 5", dump, StringComparison.Ordinal);
    }

    // Trains until the ranks are under way, does the damage, and waits for the survivors; those of the lost host too, if they end.
    private (int[] Codes, string[] Outputs) Run(Action<HostNetwork, RunningWorker[]> damage)
    {
        string? obstacle = HostNetwork.Obstacle();
        Assert.SkipWhen(obstacle is not null, obstacle ?? "");
        string config = Path.Combine(_folder, "ds.json");
        File.WriteAllText(config, """{"train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}""");
        string arguments = $"train --n-layer 1 --n-head 2 --n-embd 16 --vocab-size 512 --sequence-length 16 --data {LossCurve.Tokens} "
            + $"--deepspeed {config} --max-steps 1000000";
        using var network = new HostNetwork(Hosts, SlowHost);
        TestContext.Current.TestOutputHelper?.WriteLine($"the slow cable is made by {network.SlowCableBy}");
        RunningWorker[] world = [.. Enumerable.Range(0, Hosts * RanksPerHost).Select(rank => RunningWorker.StartIn(network.Name(rank / RanksPerHost),
            arguments, ("RANK", Text(rank)), ("LOCAL_RANK", Text(rank % RanksPerHost)), ("LOCAL_WORLD_SIZE", Text(RanksPerHost)),
            ("WORLD_SIZE", Text(Hosts * RanksPerHost)), ("MASTER_ADDR", HostNetwork.Address(0)), ("MASTER_PORT", Text(Port)),
            ("DEEPSPEED_TIMEOUT", "2"), ("DEEPSPEED_HEARTBEAT_TIMEOUT", "8"), ("DEEPSPEED_FLIGHT_RECORDER_DIR", Path.Combine(_folder, "dumps"))))];
        string Said() => string.Join('\n', world.Select((worker, rank) => $"-- rank {rank}\n{worker.Output}"));
        try
        {
            Poll.Until(() => world[0].Output.Split("step ").Length > 2 || world.Any(worker => worker.HasExited), "some steps", Said);
            Assert.False(world.Any(worker => worker.HasExited), Said());

            damage(network, world);

            int[] codes = [.. world[..4].Select(worker => worker.Wait())];
            foreach (RunningWorker paused in world[4..].Where(worker => !worker.HasExited))
            {
                paused.Signal("CONT");
            }

            codes = [.. codes, .. world[4..].Select(worker => worker.Wait())];
            return (codes, [.. world.Select(worker => worker.Output)]);
        }
        catch
        {
            TestContext.Current.TestOutputHelper?.WriteLine(Said());
            throw;
        }
        finally
        {
            Array.ForEach(world, worker => worker.Dispose());
        }
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
