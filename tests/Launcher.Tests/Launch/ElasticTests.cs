using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Restarts of <c>--elastic_training</c>: on one machine, and on the hosts that are left.</summary>
public sealed class ElasticTests
{
    private const string Place = "echo \"start $TORCHELASTIC_RESTART_COUNT: $RANK of $WORLD_SIZE on $CROSS_SIZE, master $MASTER_ADDR, attempt $DSJ_ATTEMPT\"\n";

    // Hosts that can be switched off: their connections break, and new ones fail.
    private const string Ssh = """
        #!/bin/sh
        while :; do case $1 in -o|-p) shift 2;; -*) shift;; *) break;; esac; done
        host=$1; shift
        [ -e "lost-$host" ] && { echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255; }
        [ "$*" = hostname ] && exit 0
        [ "$*" = "hostname -I" ] && { echo "address-of-$host "; exit 0; }
        exec 3<&0
        setsid -w sh -c "$*" <&3 3<&- & child=$!
        while kill -0 $child 2>/dev/null; do
          [ -e "lost-$host" ] && { kill -9 -- -$child; echo "Connection to $host closed by remote host." >&2; exit 255; }
          sleep 0.05
        done
        wait $child
        """;

    [Fact]
    public async Task Elastic_RankFailsOnce_EveryRankStartsAgain()
    {
        using var ranks = new RankFolder(Place + "touch up$RANK; while [ ! -e up0 ]; do sleep 0.05; done\n[ $RANK = 1 ] && [ ! -e saved ] && { touch saved; exit 7; }\nwhile [ ! -e saved ]; do sleep 0.05; done; [ $TORCHELASTIC_RESTART_COUNT = 1 ] || sleep 60");

        (int exitCode, string text) = await ranks.RunAsync("--elastic_training", "--master_addr", "127.0.0.1", "--num_gpus", "2", "./rank.sh");

        Assert.Equal(0, exitCode);
        Assert.Contains("rank 1 on localhost failed with exit code 7", text, StringComparison.Ordinal);
        Assert.Contains("deepspeed: restart 1 of 100 in 1 s", text, StringComparison.Ordinal);
        foreach (int rank in (int[])[0, 1])
        {
            Assert.Contains($"start 0: {rank} of 2 on 1, master 127.0.0.1, attempt 1", text, StringComparison.Ordinal);
            Assert.Contains($"start 1: {rank} of 2 on 1, master 127.0.0.1, attempt 2", text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(7, "1", "giving up: --max_elastic_restarts allows 1")]
    [InlineData(7, "0", "not starting again: --max_elastic_restarts is 0")]
    [InlineData(78, "5", "not starting again: exit code 78 (wrong configuration) needs a correction first")]
    public async Task Elastic_RankFailsAgainAndAgain_EndsWithItsExitCode(int exitCode, string limit, string expected)
    {
        using var ranks = new RankFolder($"exit {exitCode}");

        (int actual, string text) = await ranks.RunAsync("--elastic_training", "--max_elastic_restarts", limit, "--master_addr", "127.0.0.1", "--num_gpus", "1", "./rank.sh");

        Assert.Equal(exitCode, actual);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("two", "address-of-one", "one, three")]
    [InlineData("one", "address-of-two", "two, three")]
    public async Task Elastic_HostIsLost_GoesOnWithTheOthers(string lost, string master, string left)
    {
        using RankFolder ranks = Hosts(Place + "[ $WORLD_SIZE = 4 ] && { touch resumed$RANK; exit 0; }\nwhile :; do sleep 0.05; done");
        using LauncherProcess front = ranks.Start("--elastic_training", "--master_addr", "address-of-one", "--hostfile", "hosts", "./rank.sh");
        foreach (int rank in Enumerable.Range(0, 6))
        {
            await front.PrintsAsync($"start 0: {rank} of 6 on 3, master address-of-one");
        }

        ranks.Write($"lost-{lost}", "");

        Assert.Equal(0, await front.ExitAsync());
        Assert.Contains($"host {lost} failed with exit code 255", front.Text, StringComparison.Ordinal);
        Assert.Contains($"going on without host {lost}: ssh: connect to host {lost} port 22: No route to host", front.Text, StringComparison.Ordinal);
        Assert.Contains($"4 ranks on 2 of 3 hosts: {left}", front.Text, StringComparison.Ordinal);
        foreach (int rank in Enumerable.Range(0, 4))
        {
            Assert.Contains($"start 1: {rank} of 4 on 2, master {master}, attempt 2", front.Text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Elastic_RestIsNoAllowedWorldSize_UsesFewerHosts()
    {
        using RankFolder ranks = Hosts(Place + "exit 0");
        ranks.Write("ds.json", """{ "elasticity": { "enabled": true, "max_train_batch_size": 8, "micro_batch_sizes": [2], "version": 0.1 } }""");

        // 6 ranks would be all of them, but only 1, 2 and 4 divide the batch.
        (int exitCode, string text) = await ranks.RunAsync("--elastic_training", "--master_addr", "m", "--hostfile", "hosts", "./rank.sh", "--deepspeed_config", "ds.json");

        Assert.Equal(0, exitCode);
        Assert.Contains("4 ranks on 2 of 3 hosts: one, two", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Elastic_CtrlCWhileItWaitsForHosts_EndsAtOnce()
    {
        using RankFolder ranks = Hosts("exit 0");
        ranks.Write("lost-two", "");
        ranks.Write("lost-three", "");
        using LauncherProcess front = ranks.Start("--elastic_training", "--min_elastic_nodes", "2", "--master_addr", "m", "--hostfile", "hosts", "./rank.sh");
        await front.PrintsAsync("waiting at most 100 s for enough hosts to answer");

        front.Send(2);

        Assert.Equal(1, await front.ExitAsync());
    }

    [Theory]
    [InlineData("are its limits; add it", "--max_elastic_nodes", "2")]
    [InlineData("3 is above --max_elastic_nodes, which is 2", "--elastic_training", "--min_elastic_nodes", "3", "--max_elastic_nodes", "2")]
    [InlineData("pdsh starts all of them together; use --launcher ssh", "--elastic_training", "--launcher", "pdsh", "--hostfile", "hosts")]
    [InlineData("1 of 1 hosts can be used (localhost), and training needs 2", "--elastic_training", "--min_elastic_nodes", "2", "--num_gpus", "1")]
    [InlineData("3 of 3 hosts can be used (one, two, three), and training needs 4", "--elastic_training", "--min_elastic_nodes", "4", "--hostfile", "hosts")]
    [InlineData("with --no_ssh no process sees all nodes", "--elastic_training", "--no_ssh", "--node_rank", "0", "--hostfile", "hosts")]
    public async Task Elastic_OptionsThatContradict_AreRefused(string expected, params string[] options)
    {
        using RankFolder ranks = Hosts("exit 0");

        (int exitCode, string text) = await ranks.RunAsync([.. options, "--master_addr", "m", "./rank.sh"]);

        Assert.Equal(78, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    // "auto" is for the program; --deepspeed is a switch in DeepSpeed's own scripts.
    [Theory]
    [InlineData("--deepspeed", "ds.json")]
    [InlineData("--deepspeed", "--deepspeed_config", "ds.json")]
    [InlineData("--deepspeed", "--deepspeed_config=ds.json")]
    public async Task Elastic_ConfigOfATrainer_IsFoundAndItsNumbersCount(params string[] arguments)
    {
        using RankFolder ranks = Hosts("exit 0");
        ranks.Write("ds.json", """
            { "train_micro_batch_size_per_gpu": "auto", "optimizer": { "type": "AdamW", "params": { "lr": "auto" } },
              "elasticity": { "enabled": true, "max_train_batch_size": 8, "micro_batch_sizes": [2], "version": 0.1, "ignore_non_elastic_batch_info": true } }
            """);

        (int exitCode, string text) = await ranks.RunAsync(["--elastic_training", "--master_addr", "m", "--num_gpus", "3", "./rank.sh", .. arguments]);

        Assert.Equal(78, exitCode);
        Assert.Contains("the elasticity section allows only these numbers of ranks: 1, 2, 4", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, 100, null, "4 4 4", "3")]
    [InlineData(1, 2, null, "4 4 4", "2")]
    [InlineData(3, 100, null, "4 4", "-")]
    [InlineData(1, 100, 12, "4 4", "1")] // 8 does not divide 12
    [InlineData(2, 100, 12, "4 4", "-")]
    [InlineData(1, 100, 12, "4 2 1", "2")] // 7 does not, 6 does
    public void Choose_Hosts_AreAsManyAsTheRulesAllow(int minimum, int maximum, int? batch, string slots, string expected)
    {
        ElasticityConfig? section = batch is { } size ? new() { Enabled = true, MaxTrainBatchSize = size, MicroBatchSizes = [1], Version = 0.1 } : null;
        var elastic = new Elasticity(minimum, maximum, section, new Restarts(1, "limit", RunConsole.OfProcess()));

        IReadOnlyList<HostSlots>? chosen = elastic.Choose([.. slots.Split(' ').Select((count, i) => HostSlots.Counting($"h{i}", int.Parse(count, null)))]);

        Assert.Equal(expected, chosen is null ? "-" : $"{chosen.Count}");
    }

    private static RankFolder Hosts(string script)
    {
        var ranks = new RankFolder(script);
        ranks.Executable("bin/ssh", Ssh);
        ranks.Write("hosts", "one slots=2\ntwo slots=2\nthree slots=2\n");
        return ranks;
    }
}
