using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class JobSizeTests
{
    // DeepSpeed's own example: batch 9792, which 32, 34, 36, 48, 51, 64, 68, 72, 96 and 102 GPUs divide, up to 104.
    private const string Elasticity = """
        {"elasticity":{"enabled":true,"max_train_batch_size":10000,"micro_batch_sizes":[8,12,16,17],"min_gpus":32,"max_gpus":1500,"version":0.1}}
        """;

    [Fact]
    public void NodeCounts_OfAnElasticConfig_AreThoseOfDeepSpeed()
    {
        DeepSpeedJobSpec spec = Spec(4, 13, 13, gpus: 8);

        Assert.Equal([4, 6, 8, 9, 12], JobConfig.NodeCounts(Elasticity, spec));
        Assert.Equal(9792, JobConfig.Check(Elasticity, spec with { NumNodes = 12 }).Batch!.TrainBatchSize);
        Assert.Contains("use one of these numbers of ranks: 32, 34, 36",
            string.Join(' ', JobConfig.Check(Elasticity, spec with { NumNodes = 10 }).Problems));
    }

    [Fact]
    public void NodeCounts_OfAFixedBatch_DivideIt() => Assert.Equal([1, 2, 3, 4, 6],
        JobConfig.NodeCounts("""{"train_batch_size":12,"train_micro_batch_size_per_gpu":1}""", Spec(1, 8, 8)));

    [Fact]
    public void Start_TakesTheLargestSizeThatFits()
    {
        DeepSpeedJobStatus status = JobDecision.For(New(Spec(4, 12, 10, gpus: 8), Elasticity)).Status;

        Assert.Equal((9, 72), (status.Nodes!.Desired, status.WorldSize!.Value));
        Assert.Equal("4,6,8-9,12", status.Elastic!.NodeCounts);
        Assert.Equal(10, status.Elastic.Requested);
    }

    [Fact]
    public void PodsWithoutAPlace_ForLong_AreGivenUp()
    {
        JobSnapshot job = New(Spec(2, 4, 4), null);
        job = job.After(JobDecision.For(job)) with { Pods = [Some.RunningPod(0), Some.RunningPod(1), Some.RunningPod(2), Homeless(3)] };
        Assert.Equal(TimeSpan.FromSeconds(600), JobDecision.For(job).RequeueAfter);

        DeepSpeedJobStatus status = JobDecision.For(job with { Now = job.Now.AddSeconds(600) }).Status;

        Assert.Equal((2, 1, 3), (status.Attempt, status.Resizes, status.Nodes!.Desired));
        Assert.Equal((0, 0), (status.Restarts, status.Disruptions));
        Assert.Equal("Resize", status.Condition("Restarting")!.Reason);
        Assert.StartsWith("The job goes on with 3 nodes instead of 4: 1 of 4 pods found no place: full", status.Condition("Restarting")!.Message);
    }

    [Fact]
    public void TooFewPlaces_ForTheSmallestSize_Wait()
    {
        JobSnapshot job = New(Spec(2, 4, 4), null);
        job = job.After(JobDecision.For(job), 5000) with { Pods = [Some.RunningPod(0), Homeless(1), Homeless(2), Homeless(3)] };

        Assert.Equal(1, JobDecision.For(job).Status.Attempt);
    }

    [Fact]
    public void NumNodes_Edited_ResizesARunningJob()
    {
        JobSnapshot job = Some.RunningJob(Spec(1, 4, 2));

        DeepSpeedJobStatus status = JobDecision.For(job with { Spec = Spec(1, 4, 3) }).Status;

        Assert.Equal((2, 1, 3), (status.Attempt, status.Resizes, status.Nodes!.Desired));
        Assert.Null(status.Condition("Stalled"));
    }

    [Fact]
    public void SmallerJob_GrowsAfterAWhileAndACheckpoint()
    {
        JobSnapshot job = Some.RunningJob(Spec(1, 4, 4));
        job = job with { Status = job.Status with { Nodes = job.Status.Nodes! with { Desired = 2 } }, Pods = [.. job.Pods.Take(2)] };
        DateTimeOffset ripe = job.Status.Condition("Running")!.LastTransitionTime!.Value.AddSeconds(1800);
        JobSnapshot saved = job with { Status = job.Status with { Progress = new JobProgress { Step = 5, LastCheckpointTime = ripe.AddSeconds(5) } } };
        JobSnapshot unsaved = job with { Status = job.Status with { Progress = new JobProgress { Step = 5, LastCheckpointTime = ripe.AddSeconds(-5) } } };

        Assert.Equal(1, JobDecision.For(saved with { Now = ripe.AddSeconds(-1) }).Status.Attempt);
        Assert.Equal(1, JobDecision.For(unsaved with { Now = ripe.AddSeconds(10) }).Status.Attempt);
        DeepSpeedJobStatus grown = JobDecision.For(saved with { Now = ripe.AddSeconds(10) }).Status;
        Assert.Equal((2, 4, 2), (grown.Attempt, grown.Nodes!.Desired, grown.Elastic!.GrowthAttempt));

        // There is no room after all: it shrinks again, and the next try is later.
        JobSnapshot growing = job with
        {
            Status = grown,
            Now = ripe.AddSeconds(10 + 600),
            Pods = [.. Enumerable.Range(0, 2).Select(i => Some.RunningPod(i, 2)), Homeless(2, 2), Homeless(3, 2)],
        };
        DeepSpeedJobStatus shrunk = JobDecision.For(growing).Status;
        Assert.Equal((3, 2, 1), (shrunk.Attempt, shrunk.Nodes!.Desired, shrunk.Elastic!.FailedGrowths));
    }

    [Fact]
    public void Failure_OfASmallerJob_KeepsItsSize()
    {
        JobSnapshot job = Some.RunningJob(Spec(1, 4, 4));
        job = job with { Status = job.Status with { Nodes = job.Status.Nodes! with { Desired = 2 } }, Pods = [.. job.Pods.Take(2)] };

        Assert.Equal(2, JobDecision.For(job.With(Some.FailedPod(1, 1))).Status.Nodes!.Desired);
    }

    private static PodSnapshot Homeless(int index, int attempt = 1) => Some.Pod(index, attempt) with { UnschedulableMessage = "full" };

    private static DeepSpeedJobSpec Spec(int fewest, int most, int wanted, int gpus = 0) => Some.Spec(wanted) with
    {
        GpusPerNode = gpus,
        Launcher = "DeepSpeed",
        Elastic = new ElasticSpec { MinNodes = fewest, MaxNodes = most },
    };

    private static JobSnapshot New(DeepSpeedJobSpec spec, string? config) =>
        Some.NewJob(config is null ? spec : spec with { Config = JsonNode.Parse(config)!.AsObject() }) with { Config = config };
}
