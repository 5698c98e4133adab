using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs.Tests;

public sealed class GangRulesTests
{
    [Theory]
    [InlineData("gang: None, queue: a", "spec.scheduling.queue: it has no meaning with scheduling.gang None; set gang to Volcano or Kueue, or remove it")]
    [InlineData("gang: Coscheduling, queue: a", "spec.scheduling.queue: it has no meaning with scheduling.gang Coscheduling; Coscheduling has no queues")]
    [InlineData("gang: None, minAvailable: 1", "spec.scheduling.minAvailable: it has no meaning with scheduling.gang None")]
    [InlineData("gang: Kueue, queue: a, minAvailable: 1", "spec.scheduling.minAvailable: it has no meaning with scheduling.gang Kueue; Kueue starts all pods or none")]
    [InlineData("gang: Volcano, minAvailable: 3", "spec.scheduling.minAvailable: 3 is more than the job's 2 pods; use at most 2")]
    [InlineData("gang: Volcano, scheduleTimeoutSeconds: 9", "spec.scheduling.scheduleTimeoutSeconds: it has no meaning with scheduling.gang Volcano; only Coscheduling has it")]
    [InlineData("gang: Volcano, queue: 'A b'", "spec.scheduling.queue: \"A b\" is not the name of a queue")]
    [InlineData("gang: Native", "spec.scheduling.gang: Native is not supported yet; use None or Volcano or Coscheduling or Kueue")]
    [InlineData("gang: Kue", "spec.scheduling.gang: there is no \"Kue\"; did you mean Kueue?")]
    public void Scheduling_ThatMakesNoSense_IsRefusedByName(string scheduling, string problem) =>
        Assert.Contains(problem, Refusal($"numNodes: 2\n  scheduling: {{ {scheduling} }}"));

    [Fact]
    public void MinAvailable_OfAnElasticJob_IsNotMoreThanItsFewestNodes() => Assert.Contains(
        "spec.scheduling.minAvailable: 3 is more than elastic.minNodes, which is 2; use at most 2",
        Refusal("numNodes: 4\n  elastic: { minNodes: 2, maxNodes: 4 }\n  scheduling: { gang: Coscheduling, minAvailable: 3 }"));

    [Fact]
    public void Kueue_WithTwoAttemptsAtATime_IsRefused() => Assert.Contains(
        "spec.restart.strategy: Kueue counts the pods of a job", Refusal("restart: { strategy: Replace }\n  scheduling: { gang: Kueue, queue: a }"));

    [Fact]
    public void Gang_LeftOut_MayBeTheAdministratorsChoice() => Assert.Null(Problem("scheduling: { queue: research, minAvailable: 1 }"));

    [Theory]
    [InlineData("parameters: many", "spec.model.parameters: \"many\" is not a number of parameters; write for example 124M or 7B")]
    [InlineData("sequenceLength: 4096", "spec.model.parameters: it is missing")]
    [InlineData("parameters: 7B, sequenceLength: 0", "spec.model.sequenceLength: 0 is out of range")]
    public void Model_ThatMakesNoSense_IsRefusedByName(string model, string problem) => Assert.Contains(problem, Refusal($"model: {{ {model} }}"));

    [Fact]
    public void Defaults_OfAGang()
    {
        var volcano = new DeepSpeedJobSpec { NumNodes = 4, Scheduling = new SchedulingSpec { Gang = "Volcano" } };

        Assert.Equal(("volcano", 4), (volcano.SchedulerName(), volcano.MinAvailable()));
        Assert.Equal(2, (volcano with { Elastic = new ElasticSpec { MinNodes = 2, MaxNodes = 4 } }).MinAvailable());
        Assert.Equal(8, (volcano with { Launcher = "PerGpu", GpusPerNode = 2 }).MinAvailable());
        Assert.Equal("mine", (volcano with { Scheduling = volcano.Scheduling! with { SchedulerName = "mine" } }).SchedulerName());
        Assert.Null(new DeepSpeedJobSpec().SchedulerName());
    }

    private static string Refusal(string fields) => Problem(fields) ?? "(valid)";

    private static string? Problem(string fields)
    {
        try
        {
            DeepSpeedJobManifest.Parse($"""
                apiVersion: deepspeedsharp.dev/v1alpha1
                kind: DeepSpeedJob
                metadata: {"{"} name: a {"}"}
                spec:
                  {fields}
                """);
            return null;
        }
        catch (ConfigException e)
        {
            return e.Message;
        }
    }
}
