namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>An operator whose time of day is set while it works; what measures durations goes on, as it does on a real machine.</summary>
public sealed class ClockScenarios(OwnControlPlane server)
{
    [Fact]
    [Trait("Scenario", "67")]
    public async Task S67_ClockSetAheadAndBack_WhilePodsRunSaveAndFail_DisturbsNoJob()
    {
        string? library = Directory.GetDirectories("/usr/lib", "*-linux-gnu").Select(f => Path.Combine(f, "faketime", "libfaketime.so.1")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(library is null, "no libfaketime: tests/cluster/install.sh installs it");
        string clock = Path.Combine((await server.GetAsync()).Folder, "clock");
        await File.WriteAllTextAsync(clock, "+0", TestContext.Current.CancellationToken);
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync("clock", environment: new Dictionary<string, string>
        {
            ["LD_PRELOAD"] = library!,
            ["FAKETIME_TIMESTAMP_FILE"] = clock,
            ["FAKETIME_NO_CACHE"] = "1",
            ["FAKETIME_DONT_FAKE_MONOTONIC"] = "1",
        });
        await using OperatorProgram _ = program;
        int edits = 1;
        await cluster.RunJobAsync("running");
        await cluster.RunJobAsync("saving");
        cluster.HoldEndingPods();
        await cluster.EditAsync("saving", """{"suspend":true}""");
        await cluster.UntilAsync("its pods are told to end", async () => (await EndingAsync()).Length == 2);

        await SetAsync("+1h");
        await cluster.RunJobAsync("ahead");
        Assert.InRange(await ErrorAsync("ahead"), 50, 70);
        await SeesAsync("saving");
        await SeesAsync("running");
        Assert.Equal(["saving-1-0", "saving-1-1"], await EndingAsync());
        Assert.Equal((1, 0, 0), Sandbox.Counters(await cluster.StatusAsync("running")));

        await SetAsync("-2h");
        await cluster.FailOnceAndCompleteAsync("back");
        Assert.InRange(await ErrorAsync("back"), -130, -110);
        await SeesAsync("running");
        Assert.Equal((1, 0, 0), Sandbox.Counters(await cluster.StatusAsync("running")));
        Assert.Equal(["saving-1-0", "saving-1-1"], await EndingAsync());

        // The program looks into the file whenever it asks for the time: it must never be empty.
        async Task SetAsync(string error)
        {
            await File.WriteAllTextAsync($"{clock}.new", error, TestContext.Current.CancellationToken);
            File.Move($"{clock}.new", clock, overwrite: true);
        }

        // Minutes by which the start of a job is ahead.
        async Task<double> ErrorAsync(string job) =>
            ((DateTimeOffset)(await cluster.StatusAsync(job))["startTime"]! - TimeProvider.System.GetUtcNow()).TotalMinutes;

        async Task SeesAsync(string job)
        {
            await cluster.EditAsync(job, $$"""{"keepFailedPods":{{++edits}}}""");
            long generation = (long)(await cluster.FindAsync("deepspeedjobs", job))!["metadata"]!["generation"]!;
            await cluster.UntilAsync(job, "the operator looked at it", s => (long?)s["observedGeneration"] == generation);
        }

        async Task<string[]> EndingAsync() => [.. (await cluster.ListAsync("pods"))
            .Where(p => p["metadata"]!["deletionTimestamp"] is not null).Select(p => (string)p["metadata"]!["name"]!).Order(StringComparer.Ordinal)];
    }
}
