namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Two hosts of two ranks each, through scripts that play ssh and pdsh.</summary>
public sealed class ManyHostTests
{
    private const string Waits = """
        trap 'echo "rank $RANK saved"; exit 0' TERM
        echo "rank $RANK is process $$."
        while :; do sleep 0.05; done
        """;

    [Theory]
    [InlineData("ssh")]
    [InlineData("pdsh")]
    public async Task Launch_TwoHosts_StartsEveryRankWithItsArgumentsAndVariables(string launcher)
    {
        using RankFolder ranks = new RankFolder("""echo "$RANK of $WORLD_SIZE, $LOCAL_RANK of $LOCAL_SIZE, node $CROSS_RANK, $MASTER_ADDR, $A, $GREETING, args $1 $2" """).WithPdsh();
        ranks.Write(".deepspeed_env", "A=semi;colon $HOME 100%n\nGREETING='it''s \"me\"'\n");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--launcher", launcher, "./rank.sh", "two words", "$x `y` \"z\" 5%");

        Assert.Equal(0, exitCode);
        string[] places = ["0 of 4, 0 of 2, node 0", "1 of 4, 1 of 2, node 0", "2 of 4, 0 of 2, node 1", "3 of 4, 1 of 2, node 1"];
        foreach (string place in places)
        {
            Assert.Contains($"{place}, 127.0.0.1, semi;colon $HOME 100%n, it''s \"me\", args two words $x `y` \"z\" 5%\n", text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("ssh")]
    [InlineData("pdsh")]
    public async Task Launch_OneRankOfOneHostFails_EndsAllHosts(string launcher)
    {
        using RankFolder ranks = new RankFolder($"[ $RANK = 3 ] && {{ while [ ! -e go ]; do sleep 0.05; done; echo cause; exit 7; }}\n{Waits}").WithPdsh();
        using LauncherProcess front = ranks.Start("--hostfile", "hosts", "--launcher", launcher, "./rank.sh");
        string[] processes = await ProcessesAsync(front, 3);

        ranks.Write("go", "");

        Assert.Equal(7, await front.ExitAsync());
        Assert.Contains("rank 3 on two failed with exit code 7", front.Text, StringComparison.Ordinal);
        await front.UntilAsync(() => processes.All(IsGone), "the end of every rank");
    }

    [Theory]
    [InlineData("ssh", Libc.Kill)]
    [InlineData("pdsh", Libc.Kill)]
    [InlineData("pdsh", Libc.Terminate)]
    public async Task Launch_FrontEndEnds_LeavesNoRankOnAnyHost(string launcher, int signal)
    {
        using RankFolder ranks = new RankFolder(Waits).WithPdsh();
        using LauncherProcess front = ranks.Start("--hostfile", "hosts", "--launcher", launcher, "./rank.sh");
        string[] processes = await ProcessesAsync(front, 4);

        front.Send(signal);

        await front.UntilAsync(() => processes.All(IsGone), "the end of every rank");
    }

    [Fact]
    public async Task Launch_CtrlCUnderSsh_LetsEveryRankSaveAndShowsIt()
    {
        using var ranks = new RankFolder(Waits);
        using LauncherProcess front = ranks.Start("--hostfile", "hosts", "--launcher", "ssh", "./rank.sh");
        await ProcessesAsync(front, 4);

        front.Send(2);

        Assert.Equal(1, await front.ExitAsync());
        Assert.All(Enumerable.Range(0, 4), rank => Assert.Contains($"rank {rank} saved", front.Text, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Launch_FirstHostUnreachable_SaysSoBeforeAnythingStarts()
    {
        using var ranks = new RankFolder("");
        ranks.Write("hosts", "gone slots=1\ntwo slots=1\n");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "./rank.sh");

        Assert.Equal(78, exitCode);
        Assert.Contains("gone: ssh without password does not work: ssh: Could not resolve hostname gone", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_OtherHostUnreachable_EndsTheRestAndNamesIt()
    {
        using var ranks = new RankFolder(Waits);
        ranks.Write("hosts", "one slots=1\ngone2 slots=1\n");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--launcher", "ssh", "./rank.sh");

        Assert.Equal(255, exitCode);
        Assert.Contains("host gone2 failed with exit code 255", text, StringComparison.Ordinal);
        Assert.Contains("Could not resolve hostname gone2", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_ProgramMissingOnOneHost_IsOneClearMessage()
    {
        using var ranks = new RankFolder("");
        ranks.Executable("bin/my-train", "#!/bin/sh\nexec sleep 60\n");
        ranks.Write("hosts", "one slots=1\nbare slots=1\n");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--launcher", "ssh", "my-train");

        Assert.Equal(64, exitCode);
        Assert.Contains("host bare failed with exit code 64", text, StringComparison.Ordinal);
        Assert.Contains("there is no program my-train on ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Launch_NoSsh_RunsOnlyItsOwnNode()
    {
        using var ranks = new RankFolder("echo \"rank $RANK local $LOCAL_RANK master $MASTER_ADDR\"");

        (int exitCode, string text) = await ranks.RunAsync("--hostfile", "hosts", "--no_ssh", "--node_rank", "1", "./rank.sh");

        Assert.Equal(0, exitCode);
        Assert.Contains("rank 2 local 0 master one", text, StringComparison.Ordinal);
        Assert.Contains("rank 3 local 1 master one", text, StringComparison.Ordinal);
        Assert.DoesNotContain("rank 0", text, StringComparison.Ordinal);
    }

    private static async Task<string[]> ProcessesAsync(LauncherProcess front, int count)
    {
        await front.UntilAsync(() => front.Text.Split(" is process ").Length > count, $"{count} ranks");
        return [.. front.Text.Split(" is process ").Skip(1).Select(rest => rest[..rest.IndexOf('.', StringComparison.Ordinal)])];
    }

    private static bool IsGone(string process) => !Directory.Exists($"/proc/{process}");
}
