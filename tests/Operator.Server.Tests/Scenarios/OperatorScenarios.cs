using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What an operator has to bear itself: each test has one of its own, which looks after one namespace.</summary>
public sealed class OperatorScenarios(OwnControlPlane server)
{
    [Fact]
    [Trait("Scenario", "59")]
    public async Task S59_KilledAtRandomWrites_BeforeAndAfterThem_TheEndIsTheSame()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("CRASH_SEED"), out int given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CRASH_SEED={seed}"));
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync("crashing");
        await using OperatorProgram _ = program;
        (var dice, var gate, int left, int kills) = (new Random(seed), new Lock(), 1, 0);
        program.Proxy.Breaks = _ =>
        {
            lock (gate)
            {
                // Of a pair of questions about one write, any may be the last that this process asked.
                if (--left > 0 || kills == 8)
                {
                    return false;
                }

                (left, kills) = (dice.Next(1, 8), kills + 1);
                program.Kill();
                return true;
            }
        };

        await cluster.RunJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"config":{"train_batch_size":8},"restart":{"backoffSeconds":1}}""");
        string[] first = await UidsAsync();
        await cluster.Kubelet.FailAsync("a", 1, 137);
        await cluster.RunPodsAsync("a", 2);
        string[] second = await UidsAsync();
        await cluster.Kubelet.SucceedAsync("a", 2);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.Equal((2, 1, 0), Sandbox.Counters(status));
        Assert.Equal(["a-1-1", "a-2-0", "a-2-1"], await cluster.NamesAsync("pods"));
        Assert.Equal(["a-2"], await cluster.NamesAsync("configmaps"));
        Assert.Equal(second, await UidsAsync());
        Assert.Single(first.Intersect(second)); // the failed one, which is kept
        Assert.True(kills >= 3, $"killed only {kills} times");

        async Task<string[]> UidsAsync() => [.. (await cluster.ListAsync("pods")).Select(p => (string)p["metadata"]!["uid"]!).Order()];
    }

    [Fact]
    [Trait("Scenario", "61")]
    public async Task S61_EveryTenthRequestFails_JobComesToItsEnd()
    {
        var faults = new Faults(61) { Rate = 0.1, OfEveryWatch = Fault.None };
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync("refused", faults);
        await using OperatorProgram _ = program;

        await cluster.FailOnceAndCompleteAsync("a");

        Assert.True(faults.Drawn.Where(f => f.Key != Fault.None).Sum(f => f.Value) >= 2, $"only {string.Join(", ", faults.Drawn)}");
    }

    [Fact]
    [Trait("Scenario", "63")]
    public async Task S63_LeaderIsStopped_AnotherGoesOn_AndItWritesNothingWithoutTheLease()
    {
        var ledger = new WriteLedger();
        OperatorProgram[] programs = [];
        Sandbox cluster = await server.SandboxAsync(() => string.Join('\n', programs.Select(p => p.Log)));
        string options = $"--namespaces {cluster.Namespace} --leader-elect true --lease-name {cluster.Namespace}";
        await using OperatorProgram first = await OperatorProgram.StartAsync(await server.GetAsync(), "left", new Faults(0), ledger, options);
        await using OperatorProgram second = await OperatorProgram.StartAsync(await server.GetAsync(), "right", new Faults(0), ledger, options);
        programs = [first, second];
        await cluster.RunJobAsync("a");
        OperatorProgram leader = programs.Single(p => p.Name == ledger.Holder);

        await leader.StopWhileAsync(async () =>
        {
            await cluster.Kubelet.FailAsync("a", 1, 1);
            await cluster.UntilAsync("the other one leads", () => Task.FromResult(ledger.Holder is { Length: > 0 } holder && holder != leader.Name));
            await cluster.RunPodsAsync("a", 2);
        });
        await cluster.FailOnceAndCompleteAsync("b");

        Assert.Empty(ledger.Wrong);
        Assert.True(ledger.Holders >= 2);
        Assert.Equal((2, 1, 0), Sandbox.Counters(await cluster.StatusAsync("a")));
    }

    [Fact]
    [Trait("Scenario", "66")]
    public async Task S66_OperatorIsUninstalledInTheMiddle_TheNextOneFindsItsJobsAsTheyAre()
    {
        (Sandbox cluster, OperatorProgram first) = await server.StartAsync("leaving");
        await using (first)
        {
            await cluster.RunJobAsync("a");
            await cluster.RunJobAsync("b");
        }

        string[] before = await cluster.NamesAsync("pods");
        await cluster.Kubelet.SucceedAsync("a", 1);
        Assert.Equal("Running", (string?)(await cluster.StatusAsync("a"))["phase"]);
        await using OperatorProgram second = await server.ProgramAsync("coming", cluster.Namespace);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.Equal((1, 0, 0), Sandbox.Counters(status));
        Assert.Equal((1, 0, 0), Sandbox.Counters(await cluster.StatusAsync("b")));
        Assert.Equal(before, await cluster.NamesAsync("pods"));
    }
}
