using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>The quick start's training, started by MPI and with Slurm's variables instead of the project's own launchers.</summary>
public sealed partial class MpiTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("mpi-tests-").FullName;
    private readonly string _config;

    public MpiTests()
    {
        _config = Path.Combine(_folder, "ds.json");
        File.WriteAllText(_config, """{"train_micro_batch_size_per_gpu": 8, "gradient_clipping": 1.0, "optimizer": {"type": "AdamW", "params": {"lr": 2e-3}}}""");
        File.WriteAllText(Path.Combine(_folder, "text.md"), string.Concat(Enumerable.Range(0, 2000).Select(i => $"line {i}\n")));
    }

    private string Metrics => Path.Combine(_folder, "m.jsonl");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Mpirun_ThreeRanks_TrainTheQuickStart()
    {
        string? mpirun = InPath("mpirun");
        Assert.SkipWhen(mpirun is null, "there is no mpirun here (Debian: apt-get install openmpi-bin)");

        using RunningWorker run = RunningWorker.StartWith(mpirun!, $"--allow-run-as-root --oversubscribe -np 3 {RunningWorker.Program} {QuickStart()}",
            ("MASTER_PORT", $"{TestPorts.Free()}"));

        Assert.Equal(0, run.Wait());
        Assert.Contains("batch 24 = 8 (micro batch) x 1 (accumulation) x 3 (ranks)", run.Output, StringComparison.Ordinal);
        Assert.Equal(3, MetricsLine.Read(Metrics).Length);
    }

    [Fact]
    public void SlurmsVariables_TwoRanks_TrainTheQuickStart()
    {
        string port = $"{TestPorts.Free()}";
        RunningWorker[] ranks = [.. Enumerable.Range(0, 2).Select(rank => RunningWorker.Start(QuickStart(), ("SLURM_PROCID", $"{rank}"),
            ("SLURM_LOCALID", $"{rank}"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_STEP_TASKS_PER_NODE", "2"), ("SLURM_NODEID", "0"),
            ("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", "0"), ("SLURM_STEP_NODELIST", "nowhere[01-02]"), ("MASTER_PORT", port)))];
        try
        {
            Assert.All(ranks, rank => Assert.Equal(0, rank.Wait()));
            Assert.Contains("x 2 (ranks)", ranks[0].Output, StringComparison.Ordinal);
            Assert.Equal(3, MetricsLine.Read(Metrics).Length);
        }
        finally
        {
            Array.ForEach(ranks, rank => rank.Dispose());
        }
    }

    // The words of the sample's manifest, for three steps over a small text.
    private string QuickStart()
    {
        string manifest = File.ReadAllText(Path.Combine(Root(), "samples", "gpt2-bytes", "job.yaml"));
        string[] words = [.. Words().Matches(manifest[..manifest.IndexOf("config:", StringComparison.Ordinal)]).Select(m => m.Groups[1].Value)];
        Assert.Equal("train", words[0]);
        return string.Join(' ', words).Replace("--max-steps=300", "--max-steps=3", StringComparison.Ordinal)
            .Replace("--data=src", $"--data={_folder}/text.md --data-format=bytes", StringComparison.Ordinal)
            + $" --deepspeed {_config} --metrics-file {Metrics}";
    }

    private static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "global.json")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new DirectoryNotFoundException("the top of the repository");
    }

    private static string? InPath(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);

    [GeneratedRegex(@"(?m)^  - (\S+)$")]
    private static partial Regex Words();
}
