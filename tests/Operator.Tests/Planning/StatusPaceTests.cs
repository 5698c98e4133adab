using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class StatusPaceTests
{
    private static readonly DeepSpeedJobStatus Starting = Start();

    [Fact]
    public void Counts_AndTheWayToRunningPods_MayWait()
    {
        JobSnapshot job = Job() with { Status = Starting };
        DeepSpeedJobStatus scheduled = Observe(job with { Pods = [Some.Pod(0) with { ClusterNode = "n" }, Some.Pod(1) with { ClusterNode = "n" }] });
        DeepSpeedJobStatus half = Observe(job with { Pods = [Some.RunningPod(0), Some.Pod(1)] });

        Assert.Equal(("Starting", true), (scheduled.Phase, StatusPace.MayWait(Starting, scheduled)));
        Assert.Equal(("1/2", true), (half.NodesText, StatusPace.MayWait(Starting, half)));
        Assert.True(StatusPace.MayWait(half, half with { SucceededNodes = "0" }));
    }

    [Fact]
    public void WhatDecisionsOrPeopleWaitFor_MayNot()
    {
        JobSnapshot job = Job() with { Status = Starting };
        DeepSpeedJobStatus running = Observe(job with { Pods = [Some.RunningPod(0), Some.RunningPod(1)] });

        Assert.Equal(("Running", false), (running.Phase, StatusPace.MayWait(Starting, running)));
        Assert.False(StatusPace.MayWait(new DeepSpeedJobStatus(), Starting));
        Assert.False(StatusPace.MayWait(Starting with { CreatedAttempt = 0 }, Starting));
        Assert.False(StatusPace.MayWait(Starting, Starting with { Attempt = 2 }));
        Assert.False(StatusPace.MayWait(Starting, Starting with { Phase = "Failed" }));
        Assert.False(StatusPace.MayWait(Starting, Starting with { ObservedGeneration = 2 }));
        Assert.False(StatusPace.MayWait(Starting, Starting with { Progress = new JobProgress { Step = 1 } }));
        Assert.False(StatusPace.MayWait(Starting, Starting.With(Some.Now, "Scheduled", false, "QuotaExceeded")));
        Assert.False(StatusPace.MayWait(Starting, Starting.With(Some.Now, "Running", false, "ImagePullBackOff")));
        Assert.False(StatusPace.MayWait(Starting, Starting.With(Some.Now, "Stalled", true, "InvalidSpec")));
    }

    [Fact]
    public void Success_OfANode_WaitsForASecondAtMost()
    {
        Assert.Equal(20, StatusPace.Between(Starting, Starting with { NodesText = "1/2" }).TotalSeconds);
        Assert.Equal(1, StatusPace.Between(Starting, Starting with { SucceededNodes = "0" }).TotalSeconds);
    }

    private static JobSnapshot Job()
    {
        JobSnapshot job = Some.NewJob();
        return job.After(JobDecision.For(job));
    }

    // Both pods exist and have no machine yet.
    private static DeepSpeedJobStatus Start() => Observe(Job() with { Pods = [Some.Pod(0), Some.Pod(1)] });

    private static DeepSpeedJobStatus Observe(JobSnapshot job) => JobDecision.For(job).Status;
}
