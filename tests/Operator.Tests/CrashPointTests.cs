using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>The operator may die before or after any of its writes: the next one comes to the same end.</summary>
public sealed class CrashPointTests
{
    private const int MostWrites = 40;

    /// <summary>Scenario 59. What is read between two writes leaves no trace: dying there is dying after the first of them.</summary>
    [Fact]
    [Trait("Scenario", "59")]
    public async Task Operator_KilledAtAnyWrite_ReachesTheSameState()
    {
        (string expected, int writes, bool _) = await RunAsync(0, Crash.None);
        Assert.InRange(writes, 10, MostWrites);
        Assert.Equal(OneFailure.End, expected);

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
        OneFailure.Apply(cluster);

        await cluster.Until(() => OneFailure.IsOver(cluster), $"completion when killed {crash} write {crashAt}", () =>
        {
            if (cluster.Api.IsDead(cluster.Client))
            {
                cluster.Start();
            }

            OneFailure.Step(cluster);
            return Task.CompletedTask;
        });

        Assert.Empty(violations);
        return (OneFailure.State(cluster), cluster.Api.Writes, crashed);
    }
}
