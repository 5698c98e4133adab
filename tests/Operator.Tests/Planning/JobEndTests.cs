using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class JobEndTests
{
    [Theory]
    [InlineData(null, "a-1-1")]
    [InlineData("Running", "a-1-1")]
    [InlineData("All", "a-1-0 a-1-1")]
    [InlineData("None", "")]
    public void Pods_OfAFinishedJob_GoByThePolicy(string? policy, string deleted)
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { CleanPodPolicy = policy, SuccessPolicy = "Rank0" }).With(Some.SucceededPod(0));
        JobDecision end = JobDecision.For(job);
        Assert.Equal("Rank0Succeeded", end.Status.Condition("Complete")!.Reason);
        JobDecision after = JobDecision.For(job.After(end));

        // The write of the end may fail, and then the job goes on.
        Assert.Equal((false, true), (end.RemoveBudget, after.RemoveBudget));
        Assert.Equal(deleted, string.Join(' ', after.Delete.Select(d => d.Pod.Name).Order()));
    }

    [Theory]
    [InlineData(137, "OOMKilled", null, "ran out of memory (exit code 137). That was failure 1, and restart.maxRestarts is 0. Raise resources.limits.memory")]
    [InlineData(127, null, "exec: torchrun: not found", "failed with exit code 127: exec: torchrun: not found. That was failure 1, and restart.maxRestarts is 0. Correct spec.command: the image has no such program.")]
    [InlineData(78, null, "no such scheduler", "gave up with exit code 78: no such scheduler. Trying again would not help. Correct spec.config.")]
    [InlineData(65, null, "no tokens in /data", "gave up with exit code 65: no tokens in /data. Trying again would not help. Correct the data that the message names.")]
    [InlineData(1, null, null, "failed with exit code 1. That was failure 1, and restart.maxRestarts is 0. Look at `kubectl logs a-1-1 -n default`.")]
    public void Failed_TellsWhoWhyAndWhatToDo(int exitCode, string? reason, string? message, string expected)
    {
        PodSnapshot pod = Some.FailedPod(1, exitCode, message: message) with { TerminatedReason = reason ?? "Error", ClusterNode = "gpu-17" };
        JobSnapshot job = Some.RunningJob(Some.Spec(maxRestarts: 0)).With(pod, Some.FailedPod(0, 69, secondsAgo: 9));

        string? failed = JobDecision.For(job).Status.Condition("Failed")!.Message;

        Assert.StartsWith($"Node 1 (pod a-1-1 on gpu-17) {expected}", failed);
    }

    [Fact]
    public void Rank0_OfAJobOfAllNodes_IsNotEnough() =>
        Assert.Equal("Running", JobDecision.For(Some.RunningJob().With(Some.SucceededPod(0))).Status.Phase);

    [Fact]
    public void Sidecar_ThatRunsOn_DoesNotKeepTheJob()
    {
        PodSnapshot[] pods = [.. Enumerable.Range(0, 2).Select(i => Some.RunningPod(i) with { ExitCode = 0, FinishedAt = Some.Now, IsReady = false })];
        JobSnapshot job = Some.RunningJob().With(pods);

        JobDecision end = JobDecision.For(job);

        Assert.Equal("Complete", end.Status.Phase);
        Assert.Equal(2, JobDecision.For(job.After(end)).Delete.Count);
    }

    [Fact]
    public void StrategyReplace_DoesNotWaitForOldPods()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { Restart = new RestartSpec { Strategy = "Replace", BackoffSeconds = 0 } }).With(Some.FailedPod(1, 1));
        job = job.After(JobDecision.For(job));

        JobDecision decision = JobDecision.For(job);

        Assert.Equal([0, 1], decision.CreateNodes);
        Assert.Equal(["a-1-0"], decision.Delete.Select(d => d.Pod.Name));
    }

    [Fact]
    public void Machine_ThatDoesNotAnswer_LosesItsPods()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { Restart = new RestartSpec { NodeLossSeconds = 40 } });
        PodSnapshot elsewhere = Some.RunningPod(1) with { ClusterNode = "node-2" };
        job = job.With(elsewhere) with { NotReady = Some.Silent("node-2", 30) };
        JobDecision early = JobDecision.For(job);
        Assert.Equal((1, TimeSpan.FromSeconds(10)), (early.Status.Attempt, early.RequeueAfter!.Value));

        JobDecision lost = JobDecision.For(job with { NotReady = Some.Silent("node-2", 40) });

        Assert.Equal((2, 0, 1), (lost.Status.Attempt, lost.Status.Restarts, lost.Status.Disruptions));
        Assert.Equal(("NodeLost", 1, "node-2"),
            (lost.Status.LastFailures![0].Reason!, lost.Status.LastFailures[0].Node, lost.Status.LastFailures[0].ClusterNode!));
        Assert.Equal("NodeLost", lost.Status.Condition("Restarting")!.Reason);

        // Its pods are forced away and not waited for; those of machines that answer are.
        JobDecision next = JobDecision.For((job with { NotReady = Some.Silent("node-2", 40) }).After(lost));
        Assert.Equal([("a-1-0", false), ("a-1-1", true)], next.Delete.Select(d => (d.Pod.Name, d.Force)).Order());
        Assert.Empty(next.CreateNodes);
    }
}
