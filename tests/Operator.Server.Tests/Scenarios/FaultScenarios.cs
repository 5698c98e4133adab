namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>An API server that refuses, and watches that end and are late, one after another. FaultyServerTests has all of them at
/// once, and takes some minutes.</summary>
public sealed class FaultScenarios(OwnControlPlane server)
{
    [Theory]
    [InlineData(nameof(Fault.CutOff))]
    [InlineData(nameof(Fault.Expired))]
    [Trait("Scenario", "60")]
    public async Task S60_WatchesThatEndAgainAndAgain_LoseNothing(string fault)
    {
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync(fault.ToLowerInvariant(), new Faults(60) { OfEveryWatch = Enum.Parse<Fault>(fault) });
        await using OperatorProgram _ = program;

        await cluster.FailOnceAndCompleteAsync("a");
    }

    [Fact]
    [Trait("Scenario", "61")]
    public async Task S61_EveryTenthRequestFails_JobComesToItsEnd()
    {
        var faults = new Faults(61) { Rate = 0.1, OfEveryWatch = Fault.None };
        (Sandbox cluster, OperatorProgram program) = await server.StartAsync("refused", faults);
        await using OperatorProgram _ = program;

        await cluster.FailOnceAndCompleteAsync("a");

        Assert.True(faults.Drawn.Values.Sum() >= 2, $"only {string.Join(", ", faults.Drawn)}");
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
