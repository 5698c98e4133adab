using System.Text.Json;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>The built program on one node, with real processes.</summary>
public sealed class LaunchRunTests
{
    private const string Waits = """
        trap 'echo "rank $RANK saved"; exit 0' TERM
        echo "rank $RANK is process $$."
        while :; do sleep 0.05; done
        """;

    public static TheoryData<int> ExitCodeCases() => Vectors.Indices("exit_codes");

    [Fact]
    public void Vectors_File_HasAllCases() => Assert.Equal(6, ExitCodeCases().Count);

    [Theory]
    [MemberData(nameof(ExitCodeCases))]
    public async Task Launch_ExitCodeVector_AgreesWithDeepSpeedOrTheRecommendation(int index)
    {
        JsonElement vector = Vectors.Read("exit_codes")[index];
        if (!vector.TryGetProperty("event", out JsonElement happening))
        {
            int[] codes = [.. vector.GetProperty("worker_exit_codes_in_order").EnumerateArray().Select(c => c.GetInt32())];
            string ends = string.Concat(codes.Select((code, rank) =>
                $"[ $RANK = {rank} ] && {(code < 0 ? $"kill {code} $$" : $"exit {code}")}\n"));
            using var ranks = new RankFolder(ends + "sleep 5");
            (int exitCode, string text) = await ranks.RunAsync("--num_gpus", $"{codes.Length}", "./rank.sh");

            Assert.Equal(codes[^1] < 0 ? 128 - codes[^1] : vector.GetProperty("front_end_shell_code").GetInt32(), exitCode);
            if (vector.TryGetProperty("recommended", out JsonElement recommended))
            {
                string signal = codes[^1] == -9 ? "SIGKILL, often out of memory" : "SIGSEGV";
                Assert.EndsWith($"exit {exitCode}", recommended.GetString(), StringComparison.Ordinal);
                Assert.Contains($"rank 0 on localhost failed with exit code {exitCode} ({signal}", text, StringComparison.Ordinal);
            }
        }
        else if (happening.GetString()!.StartsWith("node launcher itself", StringComparison.Ordinal))
        {
            using var ranks = new RankFolder("echo \"rank $RANK under $PPID.\"\nexec sleep 100");
            using LauncherProcess launcher = ranks.Start("--launcher", "ssh", "--force_multi", "--hostfile", "hosts", "--num_nodes", "1", "./rank.sh");
            await launcher.PrintsAsync("rank 0 under ");
            await launcher.PrintsAsync("rank 1 under ");
            Assert.Equal(0, Libc.Send(int.Parse(launcher.After("rank 0 under ").TrimEnd('.'), null), Libc.Kill));

            Assert.Equal(128 + Libc.Kill, await launcher.ExitAsync());
        }
        else
        {
            using var ranks = new RankFolder(Waits);
            using LauncherProcess launcher = ranks.Start("--num_gpus", "1", "./rank.sh");
            await launcher.PrintsAsync("is process");
            launcher.Send(Libc.Terminate);

            Assert.Equal(vector.GetProperty("front_end_shell_code").GetInt32(), await launcher.ExitAsync());
        }
    }

    [Fact]
    public async Task Launch_TwoRanks_GetTheirPlaceAndTheFilesVariables()
    {
        using var ranks = new RankFolder("""echo "$RANK/$WORLD_SIZE $LOCAL_RANK [$CUDA_VISIBLE_DEVICES] $A $B $OMP_WAIT_POLICY $1|$2" """);
        ranks.Write(".deepspeed_env", "# for all ranks\n\nexport A=1=2\nB=\"two words\"\n");

        (int exitCode, string text) = await ranks.RunAsync("--num_gpus", "2", "./rank.sh", "--name", "a b");

        Assert.Equal(0, exitCode);
        Assert.Contains("[rank 0] 0/2 0 [] 1=2 two words PASSIVE --name|a b", text, StringComparison.Ordinal);
        Assert.Contains("[rank 1] 1/2 1 [] 1=2 two words PASSIVE --name|a b", text, StringComparison.Ordinal);
        Assert.Contains("2 ranks on its processors", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_PythonScript_GetsUnbufferedOutputAndItsLocalRank()
    {
        using var ranks = new RankFolder("");
        ranks.Write("train.py", "import os, sys\nprint(os.environ['RANK'], sys.argv[1:])\n");

        (int exitCode, string text) = await ranks.RunAsync("--num_gpus", "2", "train.py", "--deepspeed_config", "ds.json");

        Assert.Equal(0, exitCode);
        Assert.Contains("[rank 1] 1 ['--local_rank=1', '--deepspeed_config', 'ds.json']", text, StringComparison.Ordinal);
    }

    // This program's own assembly is a .NET assembly like any other.
    [Fact]
    public async Task Launch_DotNetAssembly_RunsUnderDotnet()
    {
        using var ranks = new RankFolder("");
        string own = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        string assembly = Path.GetFullPath(Path.Combine(own, "..", "..", "Launcher", Path.GetFileName(own), "deepspeed.dll"));

        (int exitCode, string text) = await ranks.RunAsync("--num_gpus", "2", assembly, "report");

        Assert.Equal(0, exitCode);
        Assert.Contains("[rank 0]   .NET ", text, StringComparison.Ordinal);
        Assert.Contains("[rank 1]   .NET ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_OneRankFails_EndsTheOthersAndSaysWhich()
    {
        using var ranks = new RankFolder($"[ $RANK = 1 ] && {{ sleep 0.3; echo cause; exit 5; }}\n{Waits}");

        (int exitCode, string text) = await ranks.RunAsync("--num_gpus", "3", "./rank.sh");

        Assert.Equal(5, exitCode);
        Assert.Contains("rank 1 on localhost failed with exit code 5; its last line:\n  | cause", text, StringComparison.Ordinal);
        Assert.Contains("rank 0 saved", text, StringComparison.Ordinal);
        Assert.Contains("rank 2 saved", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_LogsPidAndQuiet_DoWhatTheySay()
    {
        using var ranks = new RankFolder("""echo "out $RANK"; echo "err $RANK" >&2; ls "${TMPDIR:-/tmp}/$PPID.deepspeed" """);

        (int exitCode, string text) = await ranks.RunAsync(
            "--num_gpus", "2", "--enable_each_rank_log", "logs", "--save_pid", "--quiet", "./rank.sh");

        Assert.Equal(0, exitCode);
        Assert.DoesNotContain("deepspeed: ", text, StringComparison.Ordinal);
        string log = Assert.Single(Directory.GetFiles(Path.Combine(ranks.Path, "logs"), "*_rank1.log"));
        string[] lines = File.ReadAllLines(log);
        Assert.Equal(["out 1", "err 1"], lines[..2]);
        Assert.EndsWith(".deepspeed", lines[2], StringComparison.Ordinal);
        Assert.False(File.Exists(lines[2]));
        Assert.Matches(@"\d{14}_rank1\.log$", log);
    }

    [Fact]
    public async Task Launch_BoundCores_AreTheOnesOfTheList()
    {
        using var ranks = new RankFolder("""echo "cores $(taskset -cp $$ | sed 's/.*: //') threads $OMP_NUM_THREADS" """);

        (int exitCode, string text) = await ranks.RunAsync("--num_gpus", "1", "--bind_core_list", "0", "./rank.sh");

        Assert.Equal(0, exitCode);
        Assert.Contains("[rank 0] cores 0 threads 1", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_EnvironmentFiles_WinOverOurThreadsAndNotOverThePlace()
    {
        using var ranks = new RankFolder("""echo "threads $OMP_NUM_THREADS, rank $RANK." """);
        ranks.Write("some.env", "OMP_NUM_THREADS=3\nRANK=5\n");

        using LauncherProcess launcher = LauncherProcess.Start(ranks.Path, [("DS_ENV_FILE", "some.env"), ("HOME", ranks.Path)], "--num_gpus", "1", "./rank.sh");
        int exitCode = await launcher.ExitAsync();
        using LauncherProcess missing = LauncherProcess.Start(ranks.Path, [("DS_ENV_FILE", "sum.env"), ("HOME", ranks.Path)], "plan", "--num_gpus", "1", "./rank.sh");

        Assert.Equal((0, 0), (exitCode, await missing.ExitAsync()));
        Assert.Contains("[rank 0] threads 3, rank 0.", launcher.Text, StringComparison.Ordinal);
        Assert.Contains("RANK of the environment files has no effect", launcher.Text, StringComparison.Ordinal);
        Assert.Contains("DS_ENV_FILE=sum.env names no file", missing.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_NoPlaceForThePid_SaysSo()
    {
        using var ranks = new RankFolder("exit 0");
        using LauncherProcess launcher = LauncherProcess.Start(ranks.Path, [("TMPDIR", ranks.Path + "/nowhere")], "--num_gpus", "1", "--save_pid", "./rank.sh");

        Assert.Equal(78, await launcher.ExitAsync());
        Assert.Contains("--save_pid: ", launcher.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Plan_Notes_AreBesideTheJson()
    {
        using var ranks = new RankFolder("exit 0");

        // The test reads both streams as one; a shell keeps them apart.
        using LauncherProcess plan = LauncherProcess.StartThrough(["sh", "-c", "\"$@\" 2>notes", "sh"], ranks.Path, [("HOME", ranks.Path)],
            "plan", "--json", "--hostfile", "absent", "--num_gpus", "0", "./rank.sh");

        Assert.Equal(0, await plan.ExitAsync());
        Assert.Equal(1, JsonDocument.Parse(plan.Text).RootElement.GetProperty("world_size").GetInt32());
        Assert.Contains("there is no hostfile absent; using this machine alone", File.ReadAllText(Path.Combine(ranks.Path, "notes")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_KilledFrontEnd_LeavesNoRank()
    {
        using var ranks = new RankFolder(Waits);
        using LauncherProcess launcher = ranks.Start("--num_gpus", "1", "./rank.sh");
        await launcher.PrintsAsync("is process");
        string rank = launcher.After("is process ").TrimEnd('.');

        launcher.Send(Libc.Kill);

        await launcher.UntilAsync(() => !Directory.Exists($"/proc/{rank}"), "the rank's end");
    }

    [Theory]
    [InlineData(64, "there is no program missing.py on ", "missing.py")]
    [InlineData(64, "there is no option --num-gpu; did you mean --num_gpus?", "--num-gpu", "2", "./rank.sh")]
    [InlineData(64, "--master_port 70000: use a port from 1 to 65535", "--master_port", "70000", "./rank.sh")]
    [InlineData(64, "--hostfile needs a value: --hostfile FILE", "--hostfile", "--no_ssh", "./rank.sh")]
    [InlineData(64, "there is no program to start", "--num_gpus", "1")]
    [InlineData(64, "rank.txt is not executable; run: chmod +x", "--num_gpus", "1", "./rank.txt")]
    [InlineData(64, "rank.txt is not executable; run: chmod +x", "--num_gpus", "1", "--no_python", "rank.txt")]
    [InlineData(78, "--hostfile: . is a folder", "--hostfile", ".", "./rank.sh")]
    [InlineData(78, "cannot be used on", "--num_gpus", "1", "--bind_core_list", "0,60000", "./rank.sh")]
    [InlineData(78, "--autotuning: this release does not", "--autotuning", "tune", "./rank.sh")]
    [InlineData(78, "--json: it is the format of a plan", "--json", "./rank.sh")]
    [InlineData(78, "line 1: \"nonsense\" is no variable", "--num_gpus", "1", "./rank.sh", "env")]
    [InlineData(78, "--bind_core_list: \"3-1\" is no list of cores", "--num_gpus", "1", "--bind_core_list", "3-1", "./rank.sh")]
    public async Task Launch_WrongWords_SaysWhatToDo(int code, string expected, params string[] args)
    {
        using var ranks = new RankFolder("exit 1");
        ranks.Write("rank.txt", "");
        if (args[^1] == "env")
        {
            ranks.Write(".deepspeed_env", "nonsense\n");
        }

        (int exitCode, string text) = await ranks.RunAsync(args);

        Assert.Equal(code, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Help_ShowsBothFormsAndEveryCommand()
    {
        using var ranks = new RankFolder("");

        (int exitCode, string text) = await ranks.RunAsync("--help");

        Assert.Equal(0, exitCode);
        foreach (string expected in (string[])["deepspeed [options] PROGRAM [arguments]", "deepspeed COMMAND", "--num_gpus, --num_accelerators N", "  run ", "  plan ", "  config "])
        {
            Assert.Contains(expected, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Plan_Json_HasEveryRankAndStartsNothing()
    {
        using var ranks = new RankFolder("touch started");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--no_ssh_check", "--launcher", "ssh", "--dry_run", "--json", "./rank.sh", "x");
        (_, string same) = await ranks.RunAsync("plan", "--hostfile", "hosts", "--no_ssh_check", "--launcher=SSH", "--json", "./rank.sh", "x");

        Assert.Equal((0, text), (exitCode, same));
        JsonElement plan = JsonDocument.Parse(text).RootElement;
        Assert.Equal(["hosts", "master_addr", "master_port", "world_size", "launcher", "environment", "ranks"], plan.EnumerateObject().Select(p => p.Name));
        Assert.Equal(("one", 29500, 4, "ssh"), (plan.GetProperty("master_addr").GetString(), plan.GetProperty("master_port").GetInt32(),
            plan.GetProperty("world_size").GetInt32(), plan.GetProperty("launcher").GetString()));
        JsonElement last = plan.GetProperty("ranks")[3];
        Assert.Equal(("two", 1, "3"), (last.GetProperty("host").GetString(), last.GetProperty("local_rank").GetInt32(),
            last.GetProperty("environment").GetProperty("RANK").GetString()));
        Assert.Equal(["./rank.sh", "x"], last.GetProperty("command").EnumerateArray().Select(w => w.GetString()));
        Assert.False(File.Exists(Path.Combine(ranks.Path, "started")));
    }

    [Fact]
    public async Task Plan_Text_ShowsCommandsOfTheBackend()
    {
        using var ranks = new RankFolder("");

        (int exitCode, string text) = await ranks.RunAsync("plan", "--hostfile", "hosts", "--launcher", "pdsh", "./rank.sh");

        Assert.Equal(0, exitCode);
        Assert.Contains("world size  4 on 2 hosts", text, StringComparison.Ordinal);
        Assert.Contains("master      127.0.0.1:29500", text, StringComparison.Ordinal);
        Assert.Contains("starts      pdsh -S -f 1024 -w one,two ", text, StringComparison.Ordinal);
        Assert.Contains("rank 3 on two, local rank 1", text, StringComparison.Ordinal);
    }
}
