using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class JobDecisionTests
{
    [Fact]
    public void NewJob_FirstPass_OnlyWritesTheAttempt()
    {
        JobDecision decision = JobDecision.For(Some.NewJob());

        Assert.Equal(1, decision.Status.Attempt);
        Assert.Equal(0, decision.Status.CreatedAttempt);
        Assert.Empty(decision.CreateNodes);
        Assert.Equal(TimeSpan.Zero, decision.RequeueAfter);
        Assert.Equal("a-1-0.a:29500", decision.Status.MasterAddress);
        Assert.Equal(["Scheduled", "Running", "Restarting", "Suspended", "Complete", "Failed"],
            decision.Status.Conditions!.Select(c => c.Type));
        Assert.All(decision.Status.Conditions!, c => Assert.Equal("False", c.Status));
    }

    [Fact]
    public void Attempt_Written_CreatesMissingPodsOnly()
    {
        JobSnapshot job = Some.NewJob();
        job = job.After(JobDecision.For(job)) with { Pods = [Some.Pod(1)] };

        JobDecision decision = JobDecision.For(job);

        Assert.Equal([0], decision.CreateNodes);
        Assert.Equal(0, decision.Status.CreatedAttempt);
    }

    [Fact]
    public void PodsOfAVeryLargeJob_AreCreatedInParts()
    {
        JobSnapshot job = Some.NewJob(Some.Spec(1200));
        job = job.After(JobDecision.For(job));
        JobDecision first = JobDecision.For(job);
        Assert.Equal((500, true, TimeSpan.Zero), (first.CreateNodes.Count, first.CreatesMore, first.RequeueAfter!.Value));

        job = job.After(first) with { Pods = [.. Enumerable.Range(0, 1000).Select(i => Some.Pod(i))] };
        JobDecision last = JobDecision.For(job);

        Assert.Equal(Enumerable.Range(1000, 200), last.CreateNodes);
        Assert.False(last.CreatesMore);
        Assert.Equal(1000, last.Status.Nodes!.Created);
        Assert.Equal(0, last.Status.CreatedAttempt);
    }

    [Fact]
    public void AnyDecision_OfTheSameJob_IsStable()
    {
        JobSnapshot job = Some.RunningJob();

        JobDecision first = JobDecision.For(job);
        JobDecision second = JobDecision.For(job with { Status = first.Status, Now = job.Now.AddHours(1) });

        Assert.Equal(StatusJson.ToJson(first.Status).ToJsonString(), StatusJson.ToJson(second.Status).ToJsonString());
        Assert.Null(second.RequeueAfter);
    }

    [Fact]
    public void Pod_Missing_AfterAllWereCreated_IsADisruption()
    {
        JobDecision decision = JobDecision.For(Some.RunningJob().Without(1));

        Assert.Equal((2, 0, 1), (decision.Status.Attempt, decision.Status.Restarts, decision.Status.Disruptions));
        Assert.Null(decision.Status.NextStartTime);
        Assert.Equal("Disruption", decision.Status.Condition("Restarting")!.Reason);
        Assert.Empty(decision.CreateNodes);
        Assert.Empty(decision.Delete);
    }

    [Fact]
    public void SucceededPod_Removed_StillCounts()
    {
        JobSnapshot job = Some.RunningJob().With(Some.SucceededPod(1));
        job = job.After(JobDecision.For(job));
        Assert.Equal("1", job.Status.SucceededNodes);

        JobDecision decision = JobDecision.For(job.Without(1));

        Assert.Equal(1, decision.Status.Attempt);
        Assert.Equal("Running", decision.Status.Phase);
        Assert.Empty(decision.CreateNodes);
        Assert.Equal("Complete", JobDecision.For(job.Without(1).With(Some.SucceededPod(0))).Status.Phase);
    }

    [Fact]
    public void Disruptions_OfAttemptsThatBarelyLived_WaitLongerEachTime()
    {
        JobSnapshot job = Some.NewJob(Some.Spec(nodes: 1));
        job = job.After(JobDecision.For(job));
        var waits = new List<double>();
        for (int attempt = 1; attempt <= 4; attempt++)
        {
            PodSnapshot rejected = Some.Pod(0, attempt) with { Phase = "Failed", Reason = "UnexpectedAdmissionError", FinishedAt = job.Now };
            job = job with { Pods = [rejected], FailureSeenAt = job.Now.AddSeconds(-5) };
            JobDecision decision = JobDecision.For(job);
            waits.Add((decision.Status.NextStartTime - job.Now)?.TotalSeconds ?? 0);
            job = job.After(decision);
        }

        Assert.Equal([0, 10, 20, 40], waits);
        Assert.Equal((0, 4), (job.Status.Restarts, job.Status.Disruptions));
    }

    [Fact]
    public void Failure_JustSeen_WaitsForItsCause()
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(1, 69)) with { FailureSeenAt = Some.Now.AddSeconds(-1) };

        JobDecision decision = JobDecision.For(job);

        Assert.Equal(1, decision.Status.Attempt);
        Assert.Equal(TimeSpan.FromSeconds(2), decision.RequeueAfter);
    }

    [Fact]
    public void Failure_OfAllPods_NeedsNoWait()
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(0, 1), Some.FailedPod(1, 69)) with { FailureSeenAt = Some.Now };

        Assert.Equal(2, JobDecision.For(job).Status.Attempt);
    }

    [Fact]
    public void Restart_OldPodsThere_WaitsForTheirEndAndForBackoff()
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(1, 137));
        job = job.After(JobDecision.For(job));
        Assert.Equal(Some.Now.AddSeconds(10), job.Status.NextStartTime);

        JobDecision deleting = JobDecision.For(job);
        Assert.Equal(["a-1-0"], deleting.Delete.Select(d => d.Pod.Name));
        Assert.Equal(["a-1-0", "a-1-1"], JobDecision.For(job with { Spec = job.Spec! with { KeepFailedPods = 0 } }).Delete.Select(d => d.Pod.Name).Order());
        Assert.Empty(deleting.CreateNodes);

        PodSnapshot ending = Some.RunningPod(0) with { DeletedAt = job.Now, DeletionDeadline = job.Now.AddSeconds(120) };
        JobDecision waiting = JobDecision.For(job with { Pods = [ending], Now = job.Now.AddSeconds(30) });
        Assert.Empty(waiting.Delete);
        Assert.Empty(waiting.CreateNodes);
        Assert.Equal("WaitingForOldPods", waiting.Status.Condition("Scheduled")!.Reason);
        Assert.Equal("Restarting", waiting.Status.Phase);

        Assert.Empty(JobDecision.For(job with { Pods = [], Now = job.Now.AddSeconds(9) }).CreateNodes);
        Assert.Equal([0, 1], JobDecision.For(job with { Pods = [], Now = job.Now.AddSeconds(10) }).CreateNodes);
    }

    [Fact]
    public void OldPod_OnALostMachine_IsForcedAndNotWaitedFor()
    {
        JobSnapshot job = Some.RunningJob().Without(1);
        job = job.After(JobDecision.For(job));
        PodSnapshot lost = Some.RunningPod(0) with { DeletedAt = Some.Now.AddSeconds(-200), DeletionDeadline = Some.Now.AddSeconds(-80) };

        JobDecision decision = JobDecision.For(job with { Pods = [lost] });

        Assert.True(Assert.Single(decision.Delete).Force);
        Assert.Equal([0, 1], decision.CreateNodes);
    }

    [Fact]
    public void Failures_InARow_DoubleTheBackoffUpToFiveMinutes()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec(maxRestarts: 100));
        var waits = new List<double>();
        for (int attempt = 1; attempt <= 7; attempt++)
        {
            PodSnapshot failed = Some.FailedPod(0, 1) with { Attempt = attempt, Name = $"a-{attempt}-0" };
            PodSnapshot other = Some.RunningPod(1, attempt);
            JobDecision decision = JobDecision.For(job with { Pods = [failed, other], FailureSeenAt = job.Now.AddSeconds(-5) });
            waits.Add((decision.Status.NextStartTime! - job.Now).Value.TotalSeconds);
            job = job.After(decision, 400);
        }

        Assert.Equal([10, 20, 40, 80, 160, 300, 300], waits);
        Assert.Equal(7, job.Status.Restarts);
        Assert.Equal(5, job.Status.LastFailures!.Count);
        Assert.Equal(7, job.Status.LastFailures[0].Attempt);
    }

    [Fact]
    public void Failure_AfterHalfAnHourOfTraining_BeginsANewRow()
    {
        JobSnapshot job = Some.RunningJob();
        job = job with { Status = job.Status with { ConsecutiveFailures = 4 }, Now = Some.Now.AddHours(1) };

        JobDecision decision = JobDecision.For(job.With(Some.FailedPod(1, 1)));

        Assert.Equal(job.Now.AddSeconds(10), decision.Status.NextStartTime);
        Assert.Equal(1, decision.Status.ConsecutiveFailures);
    }

    [Fact]
    public void Failure_BeyondTheLimit_FailsTheJobAndCleansUp()
    {
        JobSnapshot job = Some.RunningJob(Some.Spec(maxRestarts: 0)).With(Some.FailedPod(1, 1, message: "boom"));
        JobDecision decision = JobDecision.For(job);

        Assert.Equal("Failed", decision.Status.Phase);
        Assert.Equal("MaxRestartsExceeded", decision.Status.Condition("Failed")!.Reason);
        Assert.Equal("Node 1 (pod a-1-1 on node-1) failed with exit code 1: boom. That was failure 1, and restart.maxRestarts is 0. Look at `kubectl logs a-1-1 -n default`.",
            decision.Status.Condition("Failed")!.Message);
        Assert.Empty(decision.Delete);

        JobDecision after = JobDecision.For(job.After(decision));
        Assert.Equal("a-1-0", Assert.Single(after.Delete).Pod.Name);
        Assert.Equal("Failed", after.Status.Phase);
    }

    [Fact]
    public void FinishedJob_OfAnEditedSpec_NeverCreatesPods()
    {
        JobSnapshot job = Some.RunningJob().With(Some.SucceededPod(0), Some.SucceededPod(1));
        job = job.After(JobDecision.For(job)) with { Generation = 2, Spec = Some.Spec(5), Pods = [] };

        JobDecision decision = JobDecision.For(job);

        Assert.Empty(decision.CreateNodes);
        Assert.Equal("Complete", decision.Status.Phase);
        Assert.Equal(2, decision.Status.ObservedGeneration);
        Assert.Null(decision.RequeueAfter);
    }

    [Fact]
    public void InvalidSpec_NewJob_FailsAndIsJudgedAnewAfterAnEdit()
    {
        JobSnapshot job = Some.NewJob() with { Problems = [new ConfigError("spec.image", "it is missing", "name it")] };
        JobDecision decision = JobDecision.For(job);

        Assert.Equal("InvalidSpec", decision.Status.Condition("Failed")!.Reason);
        Assert.Equal("spec.image: it is missing; name it", decision.Status.Condition("Failed")!.Message);
        Assert.Equal(0, decision.Status.Attempt);
        Assert.Null(JobDecision.For(job.After(decision)).RequeueAfter);

        JobDecision mended = JobDecision.For(job.After(decision) with { Generation = 2, Problems = [] });
        Assert.Equal(1, mended.Status.Attempt);
        Assert.False(mended.Status.Is("Failed"));
        Assert.Null(mended.Status.CompletionTime);
    }

    [Fact]
    public void InvalidJob_MendedAndSuspended_IsOpenedBeforeItsPodsAreDeleted()
    {
        JobSnapshot job = Some.RunningJob() with { Spec = Some.Spec(suspend: true), Generation = 2 };
        job = job.After(JobDecision.For(job));
        JobDecision invalid = JobDecision.For(job with { Generation = 3, Problems = [new ConfigError("spec.numNodes", "0 is out of range", "use 1")] });
        Assert.Equal("InvalidSpec", invalid.Status.Condition("Failed")!.Reason);

        JobSnapshot mended = job.After(invalid) with { Generation = 4, Problems = [] };
        JobDecision opened = JobDecision.For(mended);

        Assert.Equal(("False", 0), (opened.Status.Condition("Failed")!.Status, opened.Delete.Count));
        Assert.NotEmpty(JobDecision.For(mended.After(opened)).Delete);
    }

    [Fact]
    public void InvalidEdit_OfARunningJob_DoesNotEndIt()
    {
        JobSnapshot job = Some.RunningJob() with { Generation = 2, Problems = [new ConfigError("spec.numNodes", "0", "1")] };
        JobDecision decision = JobDecision.For(job);

        Assert.Equal("Running", decision.Status.Phase);
        Assert.True(decision.Status.Is("Stalled"));

        JobDecision failure = JobDecision.For(job.With(Some.FailedPod(1, 1)));
        Assert.Equal("InvalidSpec", failure.Status.Condition("Failed")!.Reason);
    }

    [Fact]
    public void Edit_OfARunningJob_WaitsForTheNextStart()
    {
        JobSnapshot job = Some.RunningJob() with { Generation = 2, Spec = Some.Spec(3) };

        JobDecision decision = JobDecision.For(job);

        Assert.Equal((1, 2), (decision.Status.Attempt, decision.Status.Nodes!.Desired));
        Assert.Equal("SpecChanged", decision.Status.Condition("Stalled")!.Reason);
        Assert.Empty(decision.CreateNodes);
    }

    [Fact]
    public void Edit_BeforeTheFirstRun_StartsOver()
    {
        JobSnapshot job = Some.NewJob(Some.Spec(8));
        job = job.After(JobDecision.For(job)) with { Pods = [Some.Pod(0)], Spec = Some.Spec(4), Generation = 2 };

        JobDecision decision = JobDecision.For(job);

        Assert.Equal((2, 4, 0), (decision.Status.Attempt, decision.Status.Nodes!.Desired, decision.Status.Restarts));
        JobDecision next = JobDecision.For(job.After(decision));
        Assert.Equal("a-1-0", Assert.Single(next.Delete).Pod.Name);
    }

    [Fact]
    public void Edit_BetweenTwoPodsOfOneAttempt_StartsOverEvenIfOneSucceeded()
    {
        JobSnapshot job = Some.NewJob(Some.Spec(2));
        job = job.After(JobDecision.For(job));
        job = job with { Pods = [Some.Pod(0) with { Phase = "Succeeded" }], Status = job.Status with { SucceededNodes = "0" } };
        Assert.Equal([1], JobDecision.For(job).CreateNodes);

        JobDecision edited = JobDecision.For(job with { Spec = Some.Spec(6), Generation = 2 });

        Assert.Equal((2, 6, 0), (edited.Status.Attempt, edited.Status.Nodes!.Desired, edited.CreateNodes.Count));
    }

    [Fact]
    public void Suspension_OfARunningJob_IsOnRecordBeforePodsAreDeleted()
    {
        JobSnapshot job = Some.RunningJob() with { Spec = Some.Spec(suspend: true), Generation = 2 };
        JobDecision first = JobDecision.For(job);
        Assert.Empty(first.Delete);
        Assert.Equal("PodsEnding", first.Status.Condition("Suspended")!.Reason);

        JobSnapshot ending = job.After(first);
        Assert.Equal(2, JobDecision.For(ending).Delete.Count);

        JobDecision ended = JobDecision.For(ending with { Pods = [] });
        Assert.True(ended.Status.Is("Suspended"));
        Assert.Equal("Suspended", ended.Status.Phase);
        Assert.Null(ended.RequeueAfter);

        // Resumed while pods are still ending: they belong to the past, and are no failure.
        JobDecision resumed = JobDecision.For(ending with { Spec = Some.Spec(), Pods = [Some.RunningPod(0) with { DeletedAt = Some.Now }] });
        Assert.Equal((2, 0, 0), (resumed.Status.Attempt, resumed.Status.Restarts, resumed.Status.Disruptions));
        Assert.Equal("Resumed", resumed.Status.Condition("Suspended")!.Reason);
    }

    [Fact]
    public void Suspension_OfANewJob_CreatesNothing()
    {
        JobDecision decision = JobDecision.For(Some.NewJob(Some.Spec(suspend: true)));

        Assert.Equal(0, decision.Status.Attempt);
        Assert.True(decision.Status.Is("Suspended"));
    }

    [Fact]
    public void Config_NotThereYet_WaitsWithoutPods()
    {
        JobDecision decision = JobDecision.For(Some.NewJob() with { ConfigWait = "ConfigMap x is missing" });

        Assert.Equal(0, decision.Status.Attempt);
        Assert.Equal("ConfigNotFound", decision.Status.Condition("Scheduled")!.Reason);
        Assert.Equal(TimeSpan.FromSeconds(15), decision.RequeueAfter);
    }

    [Fact]
    public void Pods_ThatCannotStart_SayWhy()
    {
        JobSnapshot job = Some.NewJob();
        job = job.After(JobDecision.For(job)) with
        {
            Pods =
            [
                Some.Pod(0) with { ClusterNode = "n", WaitingReason = "ImagePullBackOff", WaitingMessage = "no such image" },
                Some.Pod(1) with { ClusterNode = "n", WaitingReason = "ContainerCreating" },
            ],
        };

        JobCondition running = JobDecision.For(job).Status.Condition("Running")!;

        Assert.Equal("ImagePullBackOff", running.Reason);
        Assert.Equal("1 of 2 pods cannot start; a-1-0: no such image", running.Message);
    }
}
