using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class JobDeadlinesTests
{
    [Fact]
    public void ActiveDeadline_Passed_FailsTheJob()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { ActiveDeadlineSeconds = 100 });

        JobDecision before = JobDecision.For(job with { Now = job.Status.ActiveStartTime!.Value.AddSeconds(99) });
        JobDecision after = JobDecision.For(job with { Now = job.Status.ActiveStartTime!.Value.AddSeconds(100) });

        Assert.Equal("Running", before.Status.Phase);
        Assert.Equal(TimeSpan.FromSeconds(1), before.RequeueAfter);
        Assert.Equal("DeadlineExceeded", after.Status.Condition("Failed")!.Reason);
    }

    [Fact]
    public void ActiveDeadline_CountsAnewAfterAResume()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { ActiveDeadlineSeconds = 100 });
        job = job with { Spec = job.Spec! with { Suspend = true } };
        job = job.After(JobDecision.For(job));
        job = job.After(JobDecision.For(job with { Pods = [] }), 1000) with { Pods = [] };
        Assert.True(job.Status.Is("Suspended"));

        DeepSpeedJobStatus resumed = JobDecision.For(job with { Spec = job.Spec! with { Suspend = false } }).Status;

        Assert.Equal(job.Now, resumed.ActiveStartTime);
        Assert.Equal((2, 1), (resumed.Attempt, resumed.Resumes));
        Assert.NotEqual("Failed", resumed.Phase);
    }

    [Fact]
    public void StartupDeadline_Passed_SaysWhatThePodsWaitFor()
    {
        JobSnapshot job = Some.NewJob(Some.Spec() with { StartupDeadlineSeconds = 60 });
        job = job.After(JobDecision.For(job));
        job = job with { Pods = [Some.RunningPod(0), Some.Pod(1) with { UnschedulableMessage = "0/4 nodes are available" }] };
        Assert.Equal(TimeSpan.FromSeconds(60), JobDecision.For(job).RequeueAfter);

        DeepSpeedJobStatus status = JobDecision.For(job with { Now = job.Now.AddSeconds(60) }).Status;

        Assert.Equal("StartupDeadlineExceeded", status.Condition("Failed")!.Reason);
        Assert.EndsWith("1 of 2 pods found no place; a-1-1: 0/4 nodes are available", status.Condition("Failed")!.Message);
    }

    [Fact]
    public void StartupDeadline_ThatPassesWhenTheLastPodIsReady_DoesNotCount()
    {
        JobSnapshot job = Some.NewJob(Some.Spec() with { StartupDeadlineSeconds = 60 });
        job = job.After(JobDecision.For(job));

        DeepSpeedJobStatus status = JobDecision.For(job with { Pods = [Some.RunningPod(0), Some.RunningPod(1)], Now = job.Now.AddSeconds(60) }).Status;

        Assert.Equal(("Running", 1), (status.Phase, status.ReadyAttempt));
    }

    [Fact]
    public void StartupDeadline_OfAJobThatRanOnce_DoesNotCount()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec() with { StartupDeadlineSeconds = 60 });
        job = job with { Pods = [Some.RunningPod(0), Some.RunningPod(1) with { IsReady = false }], Now = job.Now.AddHours(1) };

        Assert.Equal("False", JobDecision.For(job).Status.Condition("Failed")!.Status);
    }

    [Theory]
    [InlineData(new[] { 7, -1 }, 1, "Node 1 (pod a-1-1 on node-1, rank 1) does not answer")]
    [InlineData(new[] { -1, 7 }, 0, "Node 0 (pod a-1-0 on node-1, rank 0) does not answer")]
    [InlineData(new[] { 7, 6 }, 1, "is furthest behind, at step 6")]
    [InlineData(new[] { 7, 7 }, 0, "answers like all others")]
    [InlineData(new[] { -1, -1 }, 0, "nor does any other node")]
    public void ProgressDeadline_Passed_NamesTheHungNodeAndRestarts(int[] steps, int node, string suspicion)
    {
        JobSnapshot job = Hanging(Some.RunningJob(Some.Spec() with { ProgressDeadlineSeconds = 900 }), movedSecondsAgo: 900) with
        {
            NodeSteps = steps.Select((s, i) => (s, i)).ToDictionary(x => x.i, x => x.s < 0 ? (long?)null : x.s),
        };

        DeepSpeedJobStatus status = JobDecision.For(job).Status;

        Assert.Equal((2, 1, 0), (status.Attempt, status.Restarts, status.Disruptions));
        Assert.Equal(("Hang", node, $"a-1-{node}"), (status.LastFailures![0].Reason, status.LastFailures[0].Node, status.LastFailures[0].Pod));
        Assert.Equal("Hang", status.Condition("Restarting")!.Reason);
        Assert.Contains(suspicion, status.Condition("Restarting")!.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("after step 7", status.Condition("Restarting")!.Message);
    }

    [Fact]
    public void ProgressDeadline_OfAJobThatBeginsToRun_IsWaitedFor()
    {
        JobSnapshot job = Some.NewJob(Some.Spec() with { ProgressDeadlineSeconds = 900 });
        job = job.After(JobDecision.For(job)) with { Pods = [Some.RunningPod(0), Some.RunningPod(1)] };

        Assert.Equal(TimeSpan.FromSeconds(900), JobDecision.For(job).RequeueAfter);
    }

    [Fact]
    public void ProgressDeadline_TrainingMoves_IsSetBack()
    {
        JobSnapshot job = Hanging(Some.RunningJob(Some.Spec() with { ProgressDeadlineSeconds = 900 }), movedSecondsAgo: 600);

        JobDecision decision = JobDecision.For(job);

        Assert.Equal(1, decision.Status.Attempt);
        Assert.Equal(TimeSpan.FromSeconds(300), decision.RequeueAfter);
    }

    [Fact]
    public void Ttl_Passed_DeletesTheJob()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec(1) with { TtlSecondsAfterFinished = 50 }).With(Some.SucceededPod(0));
        job = job.After(JobDecision.For(job));
        Assert.Equal("Complete", job.Status.Phase);

        Assert.Equal((false, TimeSpan.FromSeconds(50)), (JobDecision.For(job).DeleteJob, JobDecision.For(job).RequeueAfter!.Value));
        Assert.True(JobDecision.For(job with { Now = job.Now.AddSeconds(50) }).DeleteJob);
        Assert.False(JobDecision.For(Some.RunningJob(Some.Spec(1) with { TtlSecondsAfterFinished = 0 })).DeleteJob);
    }

    private static JobSnapshot Hanging(JobSnapshot job, int movedSecondsAgo) => job with
    {
        Now = Some.Now.AddHours(2),
        MovedAt = Some.Now.AddHours(2).AddSeconds(-movedSecondsAgo),
        Progress = new ProgressReport(1, 7, 100, 1.5, null, null, null, null),
        Status = job.Status with { Progress = new JobProgress { Step = 7, TotalSteps = 100, Percent = 7, UpdatedTime = Some.Now.AddHours(2).AddSeconds(-movedSecondsAgo) } },
    };
}
