using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class GangPlanTests
{
    private const string GroupOfAttempt1 = "a-17b78-1";

    [Fact]
    public void Volcano_HoldsPodsUntilItsGroupIsIn()
    {
        JobSnapshot job = Begun(Spec("Volcano"));
        Assert.Equal(("Volcano", "a-1", "research"), (job.Status.Gang!.Scheduler, job.Status.Gang.Group, job.Status.Gang.Queue));

        JobDecision first = JobDecision.For(job);
        job = job.After(first, 100) with { Group = new GroupSnapshot("default", "a-1", "uid", "a", "Pending", "queue is full") };
        JobDecision waiting = JobDecision.For(job);
        job = job.After(waiting, 100) with { Group = job.Group! with { Phase = "Inqueue" } };
        JobDecision admitted = JobDecision.For(job);

        Assert.True(first.CreateGroup);
        Assert.Empty(first.CreateNodes);
        Assert.False(waiting.CreateGroup);
        Assert.Empty(waiting.CreateNodes);
        Assert.Equal("WaitingForGang", waiting.Status.Condition("Scheduled")!.Reason);
        Assert.Equal("PodGroup a-1 waits until Volcano has room for 2 pods in queue research. queue is full", waiting.Status.Condition("Scheduled")!.Message);
        Assert.Equal([0, 1], admitted.CreateNodes);
        Assert.Equal(job.Now, admitted.Status.Gang!.AdmittedTime);
    }

    [Fact]
    public void TimeInAQueue_IsNotStartupTime()
    {
        DeepSpeedJobSpec spec = Spec("Volcano") with { StartupDeadlineSeconds = 60 };
        JobSnapshot job = Begun(spec);
        job = job.After(JobDecision.For(job), 5000) with { Group = new GroupSnapshot("default", "a-1", "uid", "a", null, null) };
        JobDecision queued = JobDecision.For(job);
        Assert.False(queued.Status.Is("Failed"));
        Assert.Null(queued.RequeueAfter);

        job = job with { Group = job.Group! with { Phase = "Inqueue" } };
        job = job.After(JobDecision.For(job), 59) with { Pods = [Some.Pod(0), Some.Pod(1)] };
        Assert.False(JobDecision.For(job).Status.Is("Failed"));

        Assert.Equal("StartupDeadlineExceeded", JobDecision.For(job with { Now = job.Now.AddSeconds(1) }).Status.Condition("Failed")!.Reason);
    }

    [Fact]
    public void Kueue_SaysThatPodsAreQueued_AndWhenTheyAreLetGo()
    {
        JobSnapshot job = Begun(Spec("Kueue"));
        Assert.Equal([0, 1], JobDecision.For(job).CreateNodes);
        job = job with { Pods = [Gated(0), Gated(1)] };

        JobDecision queued = JobDecision.For(job);
        JobDecision admitted = JobDecision.For(job.After(queued, 30) with { Pods = [Queued(0), Queued(1)] });

        JobCondition scheduled = queued.Status.Condition("Scheduled")!;
        Assert.Equal("QueuedByKueue", scheduled.Reason);
        Assert.Equal($"2 of 2 pods wait for quota in queue research; `kubectl describe workload {GroupOfAttempt1}` says for what.", scheduled.Message);
        Assert.Null(queued.Status.Gang!.AdmittedTime);
        Assert.Equal(job.Now.AddSeconds(30), admitted.Status.Gang!.AdmittedTime);
        Assert.Equal("WaitingForScheduler", admitted.Status.Condition("Scheduled")!.Reason);
    }

    [Fact]
    public void Restart_KeepsKueuesGroup_AndWaitsForTheEndOfOldPods()
    {
        JobSnapshot job = RunningWithKueue();
        JobSnapshot failed = job.With(Of(1) with { Phase = "Failed", ExitCode = 1, IsReady = false, FinishedAt = Some.Now.AddSeconds(-9) });
        JobSnapshot next = failed.After(JobDecision.For(failed), 1000);

        // A sidecar still runs in one of them, and Kueue counts it.
        PodSnapshot ending = Of(0) with { ExitCode = 0, IsReady = false, DeletedAt = Some.Now };
        JobDecision waits = JobDecision.For(next with { Pods = [ending, next.Pods.Single(p => p.Index == 1)] });
        JobDecision goes = JobDecision.For(next with { Pods = [ending with { Phase = "Failed" }, next.Pods.Single(p => p.Index == 1)] });

        Assert.Equal((2, GroupOfAttempt1), (next.Status.Attempt, next.Status.Gang!.Group));
        Assert.Empty(waits.CreateNodes);
        Assert.Equal([0, 1], goes.CreateNodes);
        Assert.Empty(goes.CloseGroups);
    }

    [Fact]
    public void Restart_AfterAPodSucceeded_NeedsANewGroupAndClosesTheOldOne()
    {
        JobSnapshot job = RunningWithKueue();
        job = job.With(Of(0) with { Phase = "Succeeded", ExitCode = 0, IsReady = false, FinishedAt = Some.Now.AddSeconds(-9) },
            Of(1) with { Phase = "Failed", ExitCode = 1, IsReady = false, FinishedAt = Some.Now.AddSeconds(-9) });

        JobSnapshot next = job.After(JobDecision.For(job), 1000);
        JobDecision goes = JobDecision.For(next);

        Assert.Equal("a-17b78-2", next.Status.Gang!.Group);
        Assert.Equal("a-1-1", Assert.Single(goes.CloseGroups).Name);
        Assert.Empty(JobDecision.For(next with { Pods = [.. next.Pods.Select(p => p with { ClosesGroup = p.Index == 1 })] }).CloseGroups);
    }

    [Fact]
    public void Restart_OnOtherMachines_NeedsANewGroup()
    {
        JobSnapshot job = RunningWithKueue(Spec("Kueue") with
        {
            Restart = new RestartSpec { Rules = [new FailureRule { Name = "all", ExitCodes = [1], Action = "Restart", AvoidNode = true }] },
        });
        job = job.With(Of(1) with { Phase = "Failed", ExitCode = 1, IsReady = false, FinishedAt = Some.Now.AddSeconds(-9) });

        DeepSpeedJobStatus next = JobDecision.For(job).Status;

        Assert.Equal(["node-1"], next.AvoidedNodes!);
        Assert.Equal("a-17b78-2", next.Gang!.Group);
    }

    [Fact]
    public void EndOfAJob_ClosesItsGroup_ButNotOneThatIsDoneByItself()
    {
        JobSnapshot job = RunningWithKueue(Spec("Kueue") with { Restart = new RestartSpec { Policy = "Never" } });
        JobSnapshot failed = job.With(Of(1) with { Phase = "Failed", ExitCode = 1, IsReady = false, FinishedAt = Some.Now.AddSeconds(-9) });
        JobDecision end = JobDecision.For(failed);
        PodSnapshot[] succeeded = [.. new[] { 0, 1 }.Select(i => Of(i) with { Phase = "Succeeded", ExitCode = 0, IsReady = false, FinishedAt = Some.Now })];
        JobSnapshot done = job.With(succeeded);

        Assert.True(end.Status.Is("Failed"));
        Assert.Equal("a-1-1", Assert.Single(JobDecision.For(failed.After(end)).CloseGroups).Name);
        Assert.Empty(JobDecision.For(done.After(JobDecision.For(done))).CloseGroups);
    }

    [Fact]
    public void Suspension_WhileQueued_LetsPodsGoThatNeverRan()
    {
        JobSnapshot job = Begun(Spec("Kueue")) with { Pods = [Gated(0), Gated(1)] };
        job = job.After(JobDecision.For(job)) with { Generation = 2, Spec = Spec("Kueue") with { Suspend = true } };
        job = job.After(JobDecision.For(job));

        JobDecision closes = JobDecision.For(job);
        JobDecision drops = JobDecision.For(job with { Pods = [.. job.Pods.Select(p => p with { DeletedAt = Some.Now, ClosesGroup = true })] });

        Assert.Equal(2, closes.Delete.Count);
        Assert.Single(closes.CloseGroups);
        Assert.Empty(closes.DropWorkloads);
        Assert.Empty(drops.CloseGroups);
        Assert.Equal([GroupOfAttempt1], drops.DropWorkloads);
    }

    [Fact]
    public void Resumption_AndAnotherQueue_NeedNewGroups()
    {
        JobSnapshot job = RunningWithKueue() with { Generation = 2, Spec = Spec("Kueue") with { Suspend = true } };
        job = job.After(JobDecision.For(job)) with { Pods = [] };
        job = job.After(JobDecision.For(job)) with { Generation = 3 };
        Assert.True(job.Status.Is("Suspended"));

        DeepSpeedJobStatus resumed = JobDecision.For(job with { Spec = Spec("Kueue") }).Status;
        DeepSpeedJobStatus moved = JobDecision.For(job with { Spec = Spec("Volcano") }).Status;

        Assert.Equal((2, "a-17b78-2"), (resumed.Attempt, resumed.Gang!.Group));
        Assert.Equal(("Volcano", "a-2"), (moved.Gang!.Scheduler, moved.Gang.Group));
    }

    [Theory]
    [InlineData("Volcano")]
    [InlineData("Coscheduling")]
    public void PodGroups_GoWithTheJobsEndAndRest(string gang)
    {
        JobSnapshot job = Running(Spec(gang));
        JobSnapshot suspended = job with { Generation = 2, Spec = job.Spec! with { Suspend = true } };
        JobSnapshot refused = job.With(Some.FailedPod(1, exitCode: 64));

        Assert.False(JobDecision.For(job).RemoveGroups);
        Assert.False(JobDecision.For(job.With(Some.FailedPod(1, exitCode: 1))).RemoveGroups); // the next attempt sees to it
        Assert.All([suspended, refused], over =>
        {
            JobDecision first = JobDecision.For(over);
            Assert.Equal((false, true), (first.RemoveGroups, JobDecision.For(over.After(first)).RemoveGroups)); // once it is on record
        });
    }

    [Fact]
    public void Effective_TakesTheLabelAndTheAdministratorsChoice_UnlessTheJobSaysOtherwise()
    {
        DeepSpeedJobSpec plain = Some.Spec();
        DeepSpeedJobSpec none = plain with { Scheduling = new SchedulingSpec { Gang = "None" } };

        DeepSpeedJobSpec queued = GangPlan.Effective(plain, "research", GangScheduler.Volcano);

        Assert.Same(plain, GangPlan.Effective(plain, null, GangScheduler.None));
        Assert.Equal(("Kueue", "research"), (queued.Scheduling!.Gang, queued.Scheduling.Queue));
        Assert.Equal("Volcano", GangPlan.Effective(plain, null, GangScheduler.Volcano).Scheduling!.Gang);
        Assert.Same(none, GangPlan.Effective(none, "research", GangScheduler.Volcano));
        Assert.Equal(SpecHash.Of(plain), SpecHash.Of(GangPlan.Effective(none, null, GangScheduler.None)));
    }

    [Fact]
    public void Queue_OfAJobThatIsNotSuspended_CannotBeChanged()
    {
        JobSnapshot job = Begun(Spec("Volcano"));
        DeepSpeedJobSpec other = job.Spec! with { Scheduling = job.Spec.Scheduling! with { Queue = "other" } };
        DeepSpeedJobStatus suspended = JobDecision.For(job with { Spec = job.Spec with { Suspend = true } }).Status;

        Assert.Null(GangPlan.QueueProblem(job.Spec, job.Status));
        Assert.Equal("spec.scheduling.queue", GangPlan.QueueProblem(other, job.Status)!.Path);
        Assert.NotNull(GangPlan.QueueProblem(other with { Scheduling = other.Scheduling! with { Queue = null } }, job.Status));
        Assert.Null(GangPlan.QueueProblem(other with { Suspend = true }, job.Status));
        Assert.Null(GangPlan.QueueProblem(other, suspended)); // it is resumed with the new queue
        Assert.Null(GangPlan.QueueProblem(Some.Spec(), job.Status)); // another gang scheduler waits for the next start
        Assert.Null(GangPlan.QueueProblem(other, Some.NewJob(other).Status));
    }

    private static DeepSpeedJobSpec Spec(string gang) => Some.Spec() with
    {
        Scheduling = new SchedulingSpec { Gang = gang, Queue = gang == "Coscheduling" ? null : "research" },
    };

    private static JobSnapshot Begun(DeepSpeedJobSpec spec)
    {
        JobSnapshot job = Some.NewJob(spec) with { Uid = "uid" };
        return job.After(JobDecision.For(job));
    }

    private static JobSnapshot Running(DeepSpeedJobSpec spec)
    {
        JobSnapshot job = Begun(spec) with { Group = new GroupSnapshot("default", "a-1", "uid", "a", "Inqueue", null) };
        job = job with { Pods = [Some.RunningPod(0), Some.RunningPod(1)] };
        job = job.After(JobDecision.For(job), 60);
        Assert.Equal("Running", job.Status.Phase);
        return job;
    }

    private static JobSnapshot RunningWithKueue(DeepSpeedJobSpec? spec = null)
    {
        JobSnapshot job = Begun(spec ?? Spec("Kueue")) with { Pods = [Of(0), Of(1)] };
        job = job.After(JobDecision.For(job));
        Assert.Equal("Running", job.Status.Phase);
        Assert.NotNull(job.Status.Gang!.AdmittedTime);
        return job;
    }

    // As Kueue's webhook leaves them.
    private static PodSnapshot Queued(int index) => Some.Pod(index) with { Group = GroupOfAttempt1, HasFinalizers = true };

    private static PodSnapshot Gated(int index) => Queued(index) with { IsGated = true };

    private static PodSnapshot Of(int index) => Some.RunningPod(index) with { Group = GroupOfAttempt1, HasFinalizers = true };
}
