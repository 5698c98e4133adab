using System.Diagnostics;
using System.Globalization;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>Ten thousand things that happen to clusters, in random order, while every promise about attempts is checked at
/// every single write, and the state of everything after each step of a calm day.</summary>
/// <remarks>
/// <c>RANDOM_EVENTS_SEED</c> repeats a run, as far as two processors allow, and <c>RANDOM_EVENTS</c> is the number of events, for
/// long runs; without both the seed is always the same. The rules that are judged are in <see cref="Promises"/>, <see cref="StatusPromises"/> and <see cref="StateJudge"/>.
/// </remarks>
public sealed class RandomEventsTests
{
    private const int CalmSteps = 90;
    private const int StormSteps = 160;
    private static readonly int Events = Number("RANDOM_EVENTS") ?? 500; // what every build can wait for; a search takes 10,000

    /// <summary>Scenarios 60, 61, 62, 65, 66 and 67, all at once.</summary>
    [Fact]
    public Task AnyEvents_InAnyOrder_WithOneOperator_KeepEveryPromise() => RunAsync(Replication.Alone);

    /// <summary>The same with scenario 63: a lease chooses one of two.</summary>
    [Fact]
    public Task AnyEvents_InAnyOrder_WithALease_KeepEveryPromise() => RunAsync(Replication.Elected);

    /// <summary>The same with two that both act, by mistake.</summary>
    [Fact]
    public Task AnyEvents_InAnyOrder_WithTwoThatBothAct_KeepEveryPromise() => RunAsync(Replication.Raced);

    private static async Task RunAsync(Replication replication)
    {
        // A build judges a change, a long run searches: what a search finds should not stop the next change by chance.
        int seed = Number("RANDOM_EVENTS_SEED") ?? (Number("RANDOM_EVENTS") is null ? 1 : Random.Shared.Next());
        string run = string.Create(CultureInfo.InvariantCulture, $"RANDOM_EVENTS_SEED={seed}, {replication}");
        TestContext.Current.TestOutputHelper?.WriteLine(run);
        await using World world = await World.StartAsync(replication, seed);
        Stopwatch calm = new(), storm = new(), rest = Stopwatch.StartNew();
        try
        {
            await world.HealAsync();
            while (world.Event < Events)
            {
                calm.Start();
                for (int i = 0; i < CalmSteps; i++)
                {
                    await world.CalmStepAsync();
                }

                calm.Stop();
                world.BeginStorm();
                storm.Start();
                for (int i = 0; i < StormSteps; i++)
                {
                    await world.StormStepAsync();
                }

                storm.Stop();
                await world.HealAsync();
            }

            await world.EndAsync();
            EverythingHappened(world, replication);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            Assert.Fail(string.Create(CultureInfo.InvariantCulture, $"{run}, event {world.Event}: {e.Message}\n{e.StackTrace}\nWhat happened last:\n{world.Diary.About(e.Message)}"));
        }
        finally
        {
            TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{world.Event} events; calm days {calm.Elapsed.TotalSeconds:0.0} s, storms {storm.Elapsed.TotalSeconds:0.0} s, all {rest.Elapsed.TotalSeconds:0.0} s"));
            TestContext.Current.TestOutputHelper?.WriteLine(string.Join(", ", world.Seen.Select(s => $"{s.Key}: {s.Value}")));
        }
    }

    // A cluster in which nothing starts would keep every promise.
    private static void EverythingHappened(World world, Replication replication)
    {
        string[] wanted =
        [
            "restarts", "disruptions", "resizes", "resumes", "pauses", "suspensions", "ended Complete",
            "jobs deleted after their time", "failed requests", "distorted events", "operators started",
            .. replication == Replication.Raced ? Array.Empty<string>() : ["causes judged"],
            .. replication == Replication.Elected ? new[] { "takeovers" } : [],
        ];
        Assert.All(wanted, what => Assert.True(world.Seen.GetValueOrDefault(what) >= Math.Min(5, world.Event / 1500), $"only {world.Seen.GetValueOrDefault(what)} {what}"));
        Assert.True(world.Event < 3000 || world.Seen.ContainsKey("ended MaxRestartsExceeded"), "no job failed too often");
        Assert.True(world.Event < 1500 || world.Seen.Keys.Count(k => k.StartsWith("pods of image", StringComparison.Ordinal)) > 3, "no edited pods");
    }

    private static int? Number(string variable) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
}
