using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Launcher.Tests.Hosts;

/// <summary>Training over three real hosts, each way to start it, and everything that can happen to it.</summary>
[Trait("Category", "Slow")]
[Collection(nameof(HostNetwork))]
public sealed class HostTests(HostNetwork network) : IDisposable
{
    private const int Interrupt = 2, Ranks = 6;

    private const string Waits = """
        trap 'echo "rank $RANK saved"; exit 0' TERM
        echo "rank $RANK on $(hostname) is process $$ of $PPID."
        while :; do sleep 0.2; done
        """;

    private const string Stubborn = """
        trap '' TERM
        echo "rank $RANK on $(hostname) is process $$ of $PPID."
        while :; do sleep 0.2; done
        """;

    private readonly JobFolder _folder = new();

    private static string Worker => Path.Combine(PublishedSample.Root, "artifacts", "bin", "WorkerImage",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "deepspeed-worker");

    [Theory]
    [InlineData("pdsh")]
    [InlineData("ssh")]
    [InlineData("openmpi")]
    [InlineData("slurm")]
    public async Task Train_ThreeHostsOfTwoRanks_IsOneTraining(string launcher)
    {
        network.Need();
        using LauncherProcess front = Start(launcher, "", [Worker, .. Training("""{ "train_micro_batch_size_per_gpu": 2, "optimizer": { "type": "AdamW", "params": { "lr": 2e-3 } } }""", 4)]);

        Assert.Equal(0, await front.ExitAsync());
        Assert.Contains("batch 12 = 2 (micro batch) x 1 (accumulation) x 6 (ranks)", front.Text, StringComparison.Ordinal);
        Assert.Contains("done; checkpoint of step 4", front.Text, StringComparison.Ordinal);
        Assert.Equal(4, Losses().Count);
        await GoneAsync(front, "training");
    }

    [Theory]
    [InlineData("pdsh", "rank 3 on worker-2 failed with exit code 137 (SIGKILL")]
    [InlineData("ssh", "rank 3 on worker-2 failed with exit code 137 (SIGKILL")]
    [InlineData("openmpi", "exited on signal 9 (Killed)")]
    [InlineData("slurm", "task 3: Killed")]
    public async Task Kill_OneRank_EndsAllHostsWithItsExitCode(string launcher, string expected)
    {
        network.Need();
        using LauncherProcess front = Start(launcher, Waits, "./rank.sh");
        (int rank, _) = (await RanksAsync(front))[3];

        Assert.Equal(0, Libc.Send(rank, Libc.Kill));

        await GoneAsync(front, $"{launcher}: kill -9 of a rank");
        Assert.Equal(137, await front.ExitAsync());
        Assert.Contains(expected, front.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("pdsh", "host worker-2 failed with exit code 137")]
    [InlineData("ssh", "host worker-2 failed with exit code 137")]
    [InlineData("openmpi", "failed with exit code")]
    public async Task Kill_LauncherOfOneHost_EndsAllHosts(string launcher, string expected)
    {
        network.Need();
        using LauncherProcess front = Start(launcher, Waits, "./rank.sh");
        (_, int parent) = (await RanksAsync(front))[2];

        Assert.Equal(0, Libc.Send(parent, Libc.Kill));

        await GoneAsync(front, $"{launcher}: kill -9 of a host's launcher");
        Assert.NotEqual(0, await front.ExitAsync());
        Assert.Contains(expected, front.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("pdsh")]
    [InlineData("ssh")]
    [InlineData("openmpi")]
    [InlineData("slurm")]
    public async Task Kill_FrontEnd_LeavesNothingOnAnyHost(string launcher)
    {
        network.Need();
        using LauncherProcess front = Start(launcher, Waits, "./rank.sh");
        await RanksAsync(front);

        front.Send(Libc.Kill);

        await GoneAsync(front, $"{launcher}: kill -9 of the front end");
    }

    [Theory]
    [InlineData("pdsh")]
    [InlineData("ssh")]
    public async Task CtrlC_OnceAndTwice_SavesAndThenEndsOtherHostsHard(string launcher)
    {
        network.Need();
        using LauncherProcess saving = Start(launcher, Waits, "./rank.sh");
        await RanksAsync(saving);
        saving.Send(Interrupt);
        Assert.Equal(1, await saving.ExitAsync());
        Assert.All(Enumerable.Range(0, Ranks), rank => Assert.Contains($"rank {rank} saved", saving.Text, StringComparison.Ordinal));

        using LauncherProcess stubborn = Start(launcher, Stubborn, "./rank.sh");
        await RanksAsync(stubborn);
        stubborn.Send(Interrupt);
        await stubborn.PrintsAsync("a second signal ends them at once");
        foreach (string host in HostNetwork.Names)
        {
            // Every host's launcher has heard of the first.
            await stubborn.UntilAsync(() => stubborn.Text.Split('\n').Count(line => line.Contains("asking rank", StringComparison.Ordinal)) == 3, $"the stop of {host}");
        }

        stubborn.Send(Interrupt);

        await GoneAsync(stubborn, $"{launcher}: second Ctrl-C");
        Assert.Equal(1, await stubborn.ExitAsync());
    }

    [Fact]
    public async Task Cut_OneHost_IsNamedAndEndsOnBothSides()
    {
        network.Need();
        using LauncherProcess pdsh = Start("pdsh", Waits, "./rank.sh");
        using LauncherProcess ssh = Start("ssh", Waits, "./rank.sh");
        LauncherProcess[] fronts = [pdsh, ssh];
        foreach (LauncherProcess front in fronts)
        {
            await RanksAsync(front);
        }

        network.Cut("worker-3");
        try
        {
            await GoneAsync(ssh, "a host cut off");
            foreach (LauncherProcess front in fronts)
            {
                Assert.Equal(255, await front.ExitAsync());
                Assert.Contains("host worker-3 failed with exit code 255 (of ssh: no connection to the host, or it was lost)", front.Text, StringComparison.Ordinal);
                Assert.Contains("Timeout, server worker-3 not responding", front.Text, StringComparison.Ordinal);
            }
        }
        finally
        {
            network.Join("worker-3");
        }
    }

    [Fact]
    public async Task Elastic_HostCutOff_TrainsOnFromTheCheckpointWithTheSameBatch()
    {
        network.Need();
        const string Config = """
            { "elasticity": { "enabled": true, "max_train_batch_size": 12, "micro_batch_sizes": [1, 2], "version": 0.1 },
              "optimizer": { "type": "AdamW", "params": { "lr": 2e-3 } } }
            """;
        using LauncherProcess front = Start("ssh", "", ["--elastic_training", "--master_addr", "10.97.0.1"], [Worker, .. Training(Config, 100_000)]);
        await front.PrintsAsync("batch 12 = 2 (micro batch) x 1 (accumulation) x 6 (ranks)");
        await front.UntilAsync(() => Losses().Count >= 4, "a checkpoint");

        network.Cut("worker-3");
        try
        {
            await front.PrintsAsync("4 ranks on 2 of 3 hosts: worker-1, worker-2");
            await front.PrintsAsync("batch 12 = 1 (micro batch) x 3 (accumulation) x 4 (ranks)");
            await front.PrintsAsync("resuming");
            Assert.Contains("going on without host worker-3", front.Text, StringComparison.Ordinal);
            front.Send(Interrupt);
            Assert.Equal(1, await front.ExitAsync());
            await GoneAsync(front, "elastic");
        }
        finally
        {
            network.Join("worker-3");
        }
    }

    public void Dispose() => _folder.Dispose();

    private string[] Training(string config, int steps)
    {
        _folder.Write("ds.json", config);
        return
        [
            "train", "--model=gpt2", "--n-layer=2", "--n-head=2", "--n-embd=32", "--dropout=0", $"--data={Path.Combine(PublishedSample.Root, "src", "Config")}",
            "--sequence-length=32", $"--max-steps={steps}", "--save-steps=2", "--save-total-limit=2", "--checkpoint-dir=saved", "--deepspeed=ds.json",
        ];
    }

    private List<double> Losses()
    {
        string file = _folder.Of("saved", "metrics.jsonl");
        return !File.Exists(file) ? [] : [.. File.ReadAllLines(file).Where(line => line.EndsWith('}')).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble())];
    }

    private LauncherProcess Start(string launcher, string script, params string[] program) => Start(launcher, script, [], program);

    private LauncherProcess Start(string launcher, string script, string[] options, string[] program)
    {
        _folder.Write("hosts", string.Concat(HostNetwork.Names.Select(name => $"{name} slots=2\n")));
        _folder.Executable("rank.sh", $"#!/bin/sh\n{script}\n");

        // A thread for each rank: six ranks share this machine.
        _folder.Write(".deepspeed_env", "OMP_NUM_THREADS=1\nOMP_WAIT_POLICY=PASSIVE\n");
        return network.Start(_folder.Path, ["--hostfile", "hosts", "--launcher", launcher, .. options, .. program]);
    }

    // Process and parent of every rank, once all have said theirs.
    private static async Task<(int Process, int Parent)[]> RanksAsync(LauncherProcess front)
    {
        await front.UntilAsync(() => front.Text.Split(" is process ").Length > Ranks, $"{Ranks} ranks");
        return [.. Enumerable.Range(0, Ranks).Select(rank =>
        {
            string line = front.Text.Split('\n').Single(l => l.Contains($"rank {rank} on ", StringComparison.Ordinal));
            string[] words = line.Split(" is process ")[1].Split(" of ");
            return (int.Parse(words[0], CultureInfo.InvariantCulture), int.Parse(words[1].TrimEnd('.', '\r'), CultureInfo.InvariantCulture));
        })];
    }

    // No process of the training is left on any host, and how long that took is written down.
    private async Task GoneAsync(LauncherProcess front, string what)
    {
        var clock = Stopwatch.StartNew();
        string[] all = ["front", .. HostNetwork.Names];
        string left = "";
        await front.UntilAsync(() => (left = string.Concat(all.Select(network.Processes))).Length == 0, $"the end of every process after {what}", () => left);
        TestContext.Current.TestOutputHelper!.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: everything gone after {clock.Elapsed.TotalSeconds:0.0} s"));
    }
}
