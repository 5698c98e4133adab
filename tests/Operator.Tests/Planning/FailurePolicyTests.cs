using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class FailurePolicyTests
{
    private static readonly FailureRule[] Rules =
    [
        new() { Name = "config", ExitCodes = [64, 78], Action = "FailJob" },
        new() { Name = "memory", Reasons = ["OOMKilled"], Action = "FailJob" },
        new() { Name = "xid", MessagePattern = "Xid|uncorrectable ECC", Action = "RestartIgnoreLimit", AvoidNode = true },
        new() { Name = "both", ExitCodes = [9], MessagePattern = "twice", Action = "Restart" },
        new() { Name = "late", ExitCodes = [64], Action = "Restart" },
    ];

    [Theory]
    [InlineData(78, null, null, "FailJob", "config")]
    [InlineData(64, null, null, "FailJob", "config")] // the first match wins
    [InlineData(137, null, "OOMKilled", "FailJob", "memory")]
    [InlineData(1, "GPU has fallen off the bus, Xid 79", null, "RestartIgnoreLimit", "xid")]
    [InlineData(9, "once", null, "Restart", null)] // all criteria must match
    [InlineData(9, "or twice", null, "Restart", "both")]
    [InlineData(65, null, null, "FailJob", null)] // our worker's refusal, without a rule
    [InlineData(1, null, null, "Restart", null)]
    [InlineData(143, null, null, "RestartIgnoreLimit", null)]
    public void Rule_FirstThatMatches_Decides(int exitCode, string? message, string? reason, string action, string? rule)
    {
        PodSnapshot pod = Some.FailedPod(1, exitCode, message: message);
        JobSnapshot job = Some.RunningJob().With(reason is null ? pod : pod with { TerminatedReason = reason });

        var policy = FailurePolicy.For(NodeFailure.Find(job)[0], WithRules(10).Spec);

        Assert.Equal((action, rule), (policy.Action, policy.Rule?.Name));
    }

    [Fact]
    public void Disruption_IsNotJudgedByRules()
    {
        PodSnapshot evicted = Some.FailedPod(1, 78) with { Reason = "Evicted" };

        var policy = FailurePolicy.For(NodeFailure.Find(Some.RunningJob().With(evicted))[0], WithRules(10).Spec);

        Assert.Equal(("RestartIgnoreLimit", null), (policy.Action, policy.Rule));
    }

    [Fact]
    public void RuleToIgnore_DoesNotCountAndAvoidsTheMachine()
    {
        JobSnapshot job = WithRules(maxRestarts: 0).With(Some.FailedPod(1, 1, message: "Xid 79"));

        DeepSpeedJobStatus status = JobDecision.For(job).Status;

        Assert.Equal((2, 0, 1), (status.Attempt, status.Restarts, status.Disruptions));
        Assert.Equal(["node-1"], status.AvoidedNodes);
        Assert.Equal(("xid", "RestartIgnoreLimit"), (status.LastFailures![0].Rule, status.LastFailures[0].Action));
    }

    [Fact]
    public void RuleToFail_FailsTheJobAndNamesItself()
    {
        DeepSpeedJobStatus status = JobDecision.For(WithRules(10).With(Some.FailedPod(1, 78))).Status;

        Assert.Equal("RuleFailJob", status.Condition("Failed")!.Reason);
        Assert.Contains("The rule config of restart.rules ends the job for that.", status.Condition("Failed")!.Message);
        Assert.Equal("FailJob", status.LastFailures![0].Action);
    }

    [Fact]
    public void PolicyNever_EndsTheJobAtAnyFailure()
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Restart = new RestartSpec { Policy = "Never" } };

        Assert.Equal("RestartPolicyNever", JobDecision.For(Some.RunningJob(spec).Without(1)).Status.Condition("Failed")!.Reason);
    }

    [Fact]
    public void Disruptions_BeyondTheirLimit_EndTheJob()
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Restart = new RestartSpec { MaxDisruptions = 1 } };
        JobSnapshot job = Some.RunningJob(spec);

        Assert.Null(JobDecision.For(job.Without(1)).Status.Condition("Failed")!.Message);
        DeepSpeedJobStatus status = JobDecision.For((job with { Status = job.Status with { Disruptions = 1 } }).Without(1)).Status;

        Assert.Equal("MaxDisruptionsExceeded", status.Condition("Failed")!.Reason);
    }

    [Fact]
    public void Backoff_IsThatOfTheSpec()
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Restart = new RestartSpec { BackoffSeconds = 2, BackoffMaxSeconds = 5, ResetAfterSeconds = 30 } };
        JobSnapshot job = Some.RunningJob(spec).With(Some.FailedPod(1, 1));
        JobSnapshot inARow = job with { Status = job.Status with { ConsecutiveFailures = 3 }, Now = Some.Now };

        Assert.Equal(Some.Now.AddSeconds(2), JobDecision.For(job).Status.NextStartTime);
        JobSnapshot soon = inARow with { Status = inARow.Status.With(Some.Now.AddSeconds(-10), "Running", false, "x").With(Some.Now.AddSeconds(-10), "Running", true, "x") };
        Assert.Equal(Some.Now.AddSeconds(5), JobDecision.For(soon).Status.NextStartTime);
        Assert.Equal(Some.Now.AddSeconds(2), JobDecision.For(inARow).Status.NextStartTime); // it trained for a minute
    }

    private static JobSnapshot WithRules(int maxRestarts) =>
        Some.RunningJob(Some.Spec() with { Restart = new RestartSpec { MaxRestarts = maxRestarts, Rules = Rules } });
}
