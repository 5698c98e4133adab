using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

public sealed class LaunchOptionTests
{
    [Fact]
    public void Read_OptionsAfterTheProgram_AreThePrograms()
    {
        LaunchOptions options = Some.Options("-iworker-0", "--num_nodes=-1", "--launcher_args=--mca x=y", "train.dll", "--num_gpus", "3", "-q");

        Assert.Equal(("worker-0", "--mca x=y", "train.dll"), (options.Include, options.BackendArguments, options.Program));
        Assert.Equal((null, null, Verbosity.Info), (options.Nodes, options.Gpus, options.Verbosity));
        Assert.Equal(["--num_gpus", "3", "-q"], options.ProgramArguments);
    }

    [Fact]
    public void Read_SeveralProblems_NamesAll()
    {
        UsageException error = Assert.Throws<UsageException>(
            () => Some.Options("--num-nodes", "--save_pid=1", "--log_level", "loud", "--launcher", "pdhs"));

        Assert.Equal(4, error.Problems.Count);
        Assert.Contains("did you mean --num_nodes?", error.Message, StringComparison.Ordinal);
        Assert.Contains("did you mean pdsh?", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_DoubleDash_EndsTheOptions() => Assert.Equal("-odd-name", Some.Options("--", "-odd-name").Program);

    [Theory]
    [InlineData("train.dll", "dotnet train.dll x")]
    [InlineData("train.py", "python3 -u train.py --local_rank=1 x")]
    [InlineData("bin/train", "bin/train x")]
    [InlineData("pkg.train", "python3 -u -m pkg.train --local_rank=1 x", "--module")]
    [InlineData("train.py", "train.py --local_rank=1 x", "--no_python")]
    [InlineData("train.py", "python3 -u train.py x", "--no_local_rank")]
    public void CommandLine_OfEachKindOfProgram(string program, string expected, params string[] options)
    {
        LaunchOptions read = Some.Options([.. options, program, "x"]);

        Assert.Equal(expected, string.Join(' ', UserProgram.Of(read).CommandLine(read, localRank: 1)));
    }

    [Theory]
    [InlineData(2, "0", 1, true)]
    [InlineData(0, "2", 2, true)]
    [InlineData(4, "2", 2, false)]
    public void Resolve_RanksWithoutGpu_OnlyWhereAskedOrWhereThereIsNone(int gpus, string asked, int ranks, bool cpu)
    {
        World world = World.Resolve(Some.Options("--num_gpus", asked, "x"), Some.Machine(gpus));

        Assert.Equal((ranks, cpu), (world.Size, world.CpuRanks));
        Assert.Equal(cpu ? "" : "0,1", RankPlan.All(world, Some.Options("x"))[0].Environment.ToDictionary()["CUDA_VISIBLE_DEVICES"]);
    }

    [Theory]
    [InlineData("-1", "hides every GPU")]
    [InlineData("1,1", "names a device twice")]
    [InlineData("0,,1", "names a device twice, or none between commas")]
    public void Resolve_UselessVisibleDevices_IsRefused(string visible, string expected)
    {
        ConfigException error = Assert.Throws<ConfigException>(
            () => World.Resolve(Some.Options("x"), Some.Machine(4, environment: ("CUDA_VISIBLE_DEVICES", visible))));

        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Resolve_WithoutPdsh_UsesSshAndSaysSo()
    {
        World world = World.Resolve(Some.Options("x"), Some.Machine(0, "a slots=1\nb slots=1\n", hasPdsh: false));

        Assert.Equal(Backend.Ssh, world.Backend);
        Assert.Equal(["pdsh is not installed; using ssh"], world.Notes);
    }

    [Fact]
    public void Resolve_OptionsOfABackend_OnOneNodeAreNotIgnoredSilently() => Assert.Contains(
        World.Resolve(Some.Options("--venv_script", "v", "--ssh_port", "22", "--launcher", "pdsh", "x"), Some.Machine(1)).Notes,
        note => note.StartsWith("without effect: --launcher, --ssh_port, --venv_script;", StringComparison.Ordinal));

    [Fact]
    public void Resolve_PortOfSsh_OfAHostThatIsAskedIsUsed() => Assert.Empty(
        World.Resolve(Some.Options("--ssh_port", "22", "x"), Some.Machine(1, "a slots=1\n")).Notes);

    [Theory]
    [InlineData(true, "--help")]
    [InlineData(true, "--num_gpus", "2", "-h")]
    [InlineData(false, "--num_gpus", "2", "train.py", "--help")]
    [InlineData(false, "--launcher_args", "--help", "train.py")]
    [InlineData(false, "--", "--help")]
    public void AsksForHelp_OnlyBeforeTheProgram(bool expected, params string[] words) =>
        Assert.Equal(expected, LaunchOptionReader.AsksForHelp(words));

    [Fact]
    public void Resolve_MpiWithoutHostfile_IsRefused() => Assert.Contains("openmpi needs a hostfile", Assert.Throws<ConfigException>(
        () => World.Resolve(Some.Options("--force_multi", "--launcher", "openmpi", "x"), Some.Machine(1))).Message, StringComparison.Ordinal);

    [Fact]
    public void PdshEnvironment_UsersOwnArguments_AreKept() =>
        Assert.EndsWith(" -p 22 -i key", RemoteCommands.PdshEnvironment(Some.Options("--ssh_port", "22", "x"), "-i key")[1].Value, StringComparison.Ordinal);

    [Theory]
    [InlineData("--node_rank", "1")]
    [InlineData("--no_ssh")]
    public void Resolve_NodeRankAndNoSsh_NeedEachOther(params string[] words) =>
        Assert.Throws<ConfigException>(() => World.Resolve(Some.Options([.. words, "x"]), Some.Machine(0, "a slots=1\nb slots=1\n")));

    [Fact]
    public void Exports_OfAManagedCluster_LeaveItsOwnSettings()
    {
        Dictionary<string, string> environment = new() { ["NCCL_IB_HCA"] = "a", ["NCCL_DEBUG"] = "INFO", ["DOTNET_gcServer"] = "1", ["NCCL%"] = "bad" };

        Assert.Equal(["DOTNET_gcServer", "NCCL_DEBUG", "NCCL_IB_HCA", "PYTHONPATH"],
            Exports.ForOtherHosts(environment, "/w", []).Select(e => e.Key));
        environment["AISC_JOB_NAME"] = "x";
        Assert.DoesNotContain("NCCL_IB_HCA", Exports.ForOtherHosts(environment, "/w", []).Select(e => e.Key));
    }

    [Fact]
    public void Cause_PeerLostBeforeTheFailure_IsTheFailure()
    {
        var failures = new PdshHosts();
        failures.Read("pdsh@front: one: ssh exited with exit code 69");
        failures.Read("one: pdsh@front: two: ssh exited with exit code 1");
        Assert.False(failures.HasCause);

        failures.Read("pdsh@front: two: ssh exited with exit code 7");

        Assert.Equal(("two", 7), failures.Cause);
    }
}
