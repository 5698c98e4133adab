using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>The operator may die before or after any of its writes: the next one comes to the same end.</summary>
public sealed class CrashPointTests
{
    private const int MostWrites = 40;

    [Fact]
    public async Task Operator_KilledAtAnyWrite_ReachesTheSameState()
    {
        (string expected, int writes, bool _) = await RunAsync(0, Crash.None);
        Assert.InRange(writes, 10, MostWrites);

        int crashes = 0;
        foreach (Crash crash in new[] { Crash.Before, Crash.After })
        {
            await Parallel.ForEachAsync(Enumerable.Range(1, writes), new ParallelOptions { MaxDegreeOfParallelism = 4 },
                async (number, cancel) =>
                {
                    (string state, int _, bool crashed) = await RunAsync(number, crash);
                    Interlocked.Add(ref crashes, crashed ? 1 : 0);
                    Assert.True(expected == state, $"killed {crash} write {number}:\n{state}\ninstead of\n{expected}");
                });
        }

        // A run may need a write or two less than the first one, when two changes were seen together.
        Assert.InRange(crashes, 2 * writes - 8, 2 * writes);
    }

    // Two nodes; one fails once with a counted failure, then both succeed.
    private static async Task<(string State, int Writes, bool Crashed)> RunAsync(int crashAt, Crash crash)
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        var violations = new List<string>();
        cluster.Api.Store.Creating = (plural, body) =>
        {
            if (plural == "pods" && (int?)cluster.Api.Store.Find("deepspeedjobs", "a")?["status"]?["attempt"] is var attempt
                && int.Parse((string)body["metadata"]!["labels"]!["deepspeedsharp.dev/attempt"]!) > (attempt ?? 0))
            {
                violations.Add($"{body["metadata"]!["name"]} was created in attempt {attempt}");
            }
        };
        bool crashed = false;
        cluster.Api.OnWrite = (number, _) =>
        {
            if (number != crashAt || crashed)
            {
                return Crash.None;
            }

            crashed = true;
            return crash;
        };
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"config":{"train_batch_size":8}}""");

        await cluster.Until(() => (string?)cluster.Status("a")["phase"] == "Complete", $"completion when killed {crash} write {crashAt}", () =>
        {
            if (cluster.Api.IsDead(cluster.Client))
            {
                cluster.Start();
            }

            string? phase = (string?)cluster.Status("a")["phase"];
            foreach (JsonObject pod in cluster.Api.Store.All("pods"))
            {
                string name = (string)pod["metadata"]!["name"]!;
                string? podPhase = (string?)pod["status"]?["phase"];
                if (podPhase is null)
                {
                    cluster.Api.Run(name);
                }
                else if (podPhase == "Running" && phase == "Running" && name == "a-1-1")
                {
                    cluster.Api.End(name, 137, cluster.Time.GetUtcNow());
                }
                else if (podPhase == "Running" && phase == "Running" && name.StartsWith("a-2-", StringComparison.Ordinal))
                {
                    cluster.Api.End(name, 0, cluster.Time.GetUtcNow());
                }
            }

            return Task.CompletedTask;
        });

        Assert.Empty(violations);
        string[] created = [.. cluster.Api.Store.Created.Where(c => c.StartsWith("pods/", StringComparison.Ordinal)).Order()];
        JsonNode status = cluster.Status("a");
        string state = string.Join('\n',
            $"attempt {status["attempt"]}, restarts {status["restarts"]}, disruptions {status["disruptions"]}",
            $"pods created {string.Join(' ', created)}",
            $"pods {string.Join(' ', cluster.Api.Store.All("pods").Select(p => (string?)p["metadata"]!["name"]))}",
            $"config maps {string.Join(' ', cluster.Api.Store.All("configmaps").Select(p => (string?)p["metadata"]!["name"]))}");
        return (state, cluster.Api.Writes, crashed);
    }
}
