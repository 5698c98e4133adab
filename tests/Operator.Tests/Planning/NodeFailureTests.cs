using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class NodeFailureTests
{
    [Theory]
    [InlineData(1, FailureKind.Counted, "NodeFailed")]
    [InlineData(64, FailureKind.Refusal, "WorkerRefused")]
    [InlineData(65, FailureKind.Refusal, "WorkerRefused")]
    [InlineData(69, FailureKind.Counted, "PeerLost")]
    [InlineData(70, FailureKind.Counted, "NodeFailed")]
    [InlineData(75, FailureKind.Counted, "NodeFailed")]
    [InlineData(78, FailureKind.Refusal, "WorkerRefused")]
    [InlineData(137, FailureKind.Counted, "NodeFailed")]
    [InlineData(143, FailureKind.Disruption, "Terminated")]
    internal void ExitCode_OfAPod_DecidesTheKind(int exitCode, FailureKind kind, string reason)
    {
        NodeFailure failure = Assert.Single(NodeFailure.Find(Some.RunningJob().With(Some.FailedPod(1, exitCode))));

        Assert.Equal((kind, reason), (failure.Kind, failure.Reason));
        Assert.Contains($"exit code {exitCode}", failure.Message);
    }

    [Fact]
    public void Refusal_ThatIsRetryable_IsCounted() => Assert.Equal(FailureKind.Counted, Only(
        Some.FailedPod(1, 65, message: """{"kind":"data","retryable":true,"message":"the share is away"}""")).Kind);

    [Theory]
    [InlineData("Evicted")]
    [InlineData("NodeShutdown")]
    [InlineData("UnexpectedAdmissionError")]
    public void PlatformReason_OfAPod_IsADisruption(string reason) =>
        Assert.Equal((FailureKind.Disruption, reason), KindOf(Some.FailedPod(1, 137) with { Reason = reason }));

    [Fact]
    public void DisruptionTarget_OfAPod_IsADisruption() => Assert.Equal((FailureKind.Disruption, "PreemptionByScheduler"),
        KindOf(Some.FailedPod(1, 1) with { DisruptionReason = "PreemptionByScheduler" }));

    [Fact]
    public void Deletion_BySomebodyElse_IsADisruption() =>
        Assert.Equal((FailureKind.Disruption, "PodDeleted"), KindOf(Some.RunningPod(1) with { DeletedAt = Some.Now }));

    [Fact]
    public void Deletion_OfAPodWhoseMachineIsLost_IsThatLoss()
    {
        // Kubernetes itself deletes such a pod at about the same time.
        JobSnapshot job = Some.RunningJob().With(Some.RunningPod(1) with { DeletedAt = Some.Now }) with
        {
            NotReady = Some.Silent("node-1", 120),
        };

        Assert.Equal((FailureKind.Disruption, "NodeLost"), (NodeFailure.Find(job)[^1].Kind, NodeFailure.Find(job)[^1].Reason));
    }

    [Fact]
    public void OutOfMemory_OfAPod_IsNamed() => Assert.Equal((FailureKind.Counted, "OOMKilled"),
        KindOf(Some.FailedPod(1, 137) with { TerminatedReason = "OOMKilled" }));

    [Theory]
    // The first to end is the cause.
    [InlineData(137, 20, 1, 10, 0)]
    [InlineData(137, 10, 1, 20, 1)]
    // In the same second, what explains more is the cause.
    [InlineData(69, 10, 137, 10, 1)]
    [InlineData(1, 10, 78, 10, 1)]
    [InlineData(1, 10, 143, 10, 1)]
    [InlineData(1, 10, 1, 10, 0)]
    // A rank that lost its peer may be seen to end a little earlier than that peer.
    [InlineData(69, 12, 137, 10, 1)]
    [InlineData(69, 20, 137, 10, 0)]
    public void Cause_OfTwoFailures_IsFirst(int code0, int secondsAgo0, int code1, int secondsAgo1, int cause)
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(0, code0, secondsAgo0), Some.FailedPod(1, code1, secondsAgo1));

        Assert.Equal(cause, NodeFailure.Find(job)[0].Index);
    }

    [Fact]
    public void Cause_DeletedPod_ComesBeforeThePeersItTookAlong()
    {
        PodSnapshot deleted = Some.FailedPod(1, 143, secondsAgo: 2) with { DeletedAt = Some.Now.AddSeconds(-10) };

        NodeFailure cause = NodeFailure.Find(Some.RunningJob().With(Some.FailedPod(0, 69, 9), deleted))[0];

        Assert.Equal((1, "PodDeleted"), (cause.Index, cause.Reason));
    }

    [Fact]
    public void Cause_DeletedPod_ComesBeforeARankThatEndedWithIt()
    {
        PodSnapshot deleted = Some.RunningPod(1) with { DeletedAt = Some.Now.AddSeconds(-10) };

        NodeFailure cause = NodeFailure.Find(Some.RunningJob().With(Some.FailedPod(0, 143, 10), deleted))[0];

        Assert.Equal((1, "PodDeleted"), (cause.Index, cause.Reason));
    }

    [Fact]
    public void FailedPod_ClearedAwayLater_StillCounts() => Assert.Equal((FailureKind.Counted, "NodeFailed"),
        KindOf(Some.FailedPod(1, 1, secondsAgo: 10) with { DeletedAt = Some.Now.AddSeconds(-5) }));

    [Fact]
    public void Message_OfTheWorker_IsPartOfTheFailure() => Assert.Equal(
        "node 1 (pod a-1-1 on node-1) gave up with exit code 65: no tokens in /data", Only(Some.FailedPod(1, 65,
            message: """{"kind":"data","retryable":false,"step":0,"message":"no tokens in /data"}""")).Message);

    private const string LostRank1 = """{"kind":"peer lost","retryable":true,"message":"rank 0: lost rank 1 at a-1-1","lostRanks":[1]}""";

    [Fact]
    public void PeerLost_OfARankWhosePodRuns_NamesThatPodAndItsMachine()
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(0, 69, message: LostRank1), Some.RunningPod(1) with { ClusterNode = "gpu-7" });

        NodeFailure cause = NodeFailure.Find(job)[0];
        JobDecision early = JobDecision.For(job);
        DeepSpeedJobStatus status = JobDecision.For(job with { FailureSeenAt = job.Now - JobDecision.SettleOfSilence }).Status;

        // The cluster may still come to know that the machine is gone.
        Assert.Equal((1, JobDecision.SettleOfSilence - TimeSpan.FromSeconds(5)), (early.Status.Attempt, early.RequeueAfter));
        Assert.Equal((1, FailureKind.Counted, "PeerLost"), (cause.Index, cause.Kind, cause.Reason));
        Assert.Equal("node 1 (pod a-1-1 on gpu-7) fell silent: node 0 (pod a-1-0 on node-1) lost another rank (exit code 69): rank 0: lost rank 1 at a-1-1",
            cause.Message);
        Assert.Equal((1, "a-1-1", "gpu-7", null),
            (status.LastFailures![0].Node, status.LastFailures[0].Pod, status.LastFailures[0].ClusterNode, status.LastFailures[0].ExitCode));
        Assert.Contains("machine gpu-7", FailureAdvice.For(cause), StringComparison.Ordinal);
    }

    [Fact]
    public void PeerLost_OfARankWhoseMachineDoesNotAnswer_IsADisruption()
    {
        JobSnapshot job = Some.RunningJob().With(Some.FailedPod(0, 69, message: LostRank1), Some.RunningPod(1) with { ClusterNode = "gpu-7" }) with
        {
            NotReady = Some.Silent("gpu-7", 1),
        };

        NodeFailure cause = NodeFailure.Find(job)[0];

        Assert.Equal((1, FailureKind.Disruption, "NodeLost"), (cause.Index, cause.Kind, cause.Reason));
        Assert.StartsWith("node 1 (pod a-1-1 on gpu-7) fell silent with its machine: node 0", cause.Message);
        Assert.Equal((2, 0, 1), (JobDecision.For(job).Status.Attempt, JobDecision.For(job).Status.Restarts, JobDecision.For(job).Status.Disruptions));
    }

    [Fact]
    public void PeerLost_OfARankWhosePodEndedToo_IsToldByWhoeverWasFirst()
    {
        PodSnapshot other = Some.FailedPod(1, 69, secondsAgo: 9, message: """{"kind":"peer lost","message":"rank 1: lost rank 0","lostRanks":[0]}""");

        NodeFailure cause = NodeFailure.Find(Some.RunningJob().With(Some.FailedPod(0, 69, message: LostRank1), other))[0];

        Assert.Equal(0, cause.Index);
    }

    [Fact]
    public void PeerLost_OfARankWhosePodRuns_IsSubjectToRulesOnExitCodes()
    {
        DeepSpeedJobSpec spec = Some.Spec() with
        {
            Restart = new RestartSpec { Rules = [new FailureRule { Name = "lost", ExitCodes = [69], Action = "RestartIgnoreLimit", AvoidNode = true }] },
        };
        JobSnapshot job = Some.RunningJob(spec).With(Some.FailedPod(0, 69, message: LostRank1), Some.RunningPod(1) with { ClusterNode = "gpu-7" });

        DeepSpeedJobStatus status = JobDecision.For(job with { FailureSeenAt = job.Now - JobDecision.SettleOfSilence }).Status;

        Assert.Equal(("lost", 1, 0), (status.LastFailures![0].Rule, status.Disruptions, status.Restarts));
        Assert.Equal(["gpu-7"], status.AvoidedNodes);
    }

    [Theory]
    [InlineData("""{"lostRanks":"1"}""")]
    [InlineData("""{"lostRanks":[99,-1,1.5,"x"]}""")]
    [InlineData("""{"lostRanks":null}""")]
    public void PeerLost_WithNonsenseForRanks_IsToldAsItIs(string message) =>
        Assert.Equal(0, NodeFailure.Find(Some.RunningJob().With(Some.FailedPod(0, 69, message: message)))[0].Index);

    private static NodeFailure Only(PodSnapshot pod) => Assert.Single(NodeFailure.Find(Some.RunningJob().With(pod)));

    private static (FailureKind, string) KindOf(PodSnapshot pod) => (Only(pod).Kind, Only(pod).Reason);
}
