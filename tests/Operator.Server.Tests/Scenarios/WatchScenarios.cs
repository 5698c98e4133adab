namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Watches that end, and such as are late. FaultyServerTests has them together with all that can happen to requests, and
/// takes some minutes.</summary>
public sealed class WatchScenarios(OwnControlPlane server)
{
    [Theory]
    [InlineData(nameof(Fault.CutOff))]
    [InlineData(nameof(Fault.Expired))]
    [Trait("Scenario", "60")]
    public async Task S60_WatchesThatEndAgainAndAgain_LoseNothing(string fault)
    {
        var faults = new Faults(60) { OfEveryWatch = Enum.Parse<Fault>(fault), LongestWatch = 1 };
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync(fault.ToLowerInvariant(), faults);
        await using OperatorProgram _ = program;

        await cluster.FailOnceAndCompleteAsync("a");
        int before = faults.Drawn.Values.Single();
        await cluster.UntilAsync("more watches have ended", () => Task.FromResult(faults.Drawn.Values.Single() > before + 4));
        await cluster.FailOnceAndCompleteAsync("b");
    }

    [Fact]
    [Trait("Scenario", "62")]
    public async Task S62_WatchesFiveSecondsBehind_LoseNoPod()
    {
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync("late", new Faults(62) { OfEveryWatch = Fault.Late });
        await using OperatorProgram _ = program;

        await cluster.FailOnceAndCompleteAsync("a");
    }
}
