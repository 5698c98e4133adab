using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class ClusterDefaultsTests
{
    private static readonly ClusterDefaults Defaults = new()
    {
        TrainerImage = "worker:default",
        SharedMemory = "8Gi",
        SchedulerName = "other",
        NodeLossSeconds = 40,
        CheckpointGracePeriodSeconds = 240,
    };

    [Fact]
    public void Spec_ThatSaysNothing_GetsAll()
    {
        DeepSpeedJobSpec spec = Defaults.Over(new DeepSpeedJobSpec { Checkpoint = new CheckpointSpec { ClaimName = "claim" } });

        Assert.Equal(("worker:default", "8Gi", "other", 40, 240),
            (spec.Image, spec.Shm!.SizeLimit!.Value.Text, spec.Scheduling!.SchedulerName, spec.Restart!.NodeLossSeconds, spec.GracePeriodSeconds()));
    }

    [Fact]
    public void Spec_ThatSaysItItself_StaysAsItIs()
    {
        var spec = new DeepSpeedJobSpec
        {
            Image = "mine:1",
            Shm = new SharedMemorySpec { SizeLimit = new Quantity("1Gi") },
            Scheduling = new SchedulingSpec { SchedulerName = "mine" },
            Restart = new RestartSpec { NodeLossSeconds = 5 },
            Checkpoint = new CheckpointSpec { ClaimName = "claim", GracePeriodSeconds = 9 },
        };

        Assert.Equal(spec, Defaults.Over(spec));
    }

    [Fact]
    public void Spec_WithoutPlaceForADefault_DoesNotGetIt()
    {
        var spec = new DeepSpeedJobSpec
        {
            Template = JsonNode.Parse("""{"spec":{"containers":[{"name":"trainer","image":"mine:1"}]}}""")!.AsObject(),
            Shm = new SharedMemorySpec { Enabled = false },
        };

        DeepSpeedJobSpec result = Defaults.Over(spec);

        Assert.Equal((null, null, null), (result.Image, result.Shm!.SizeLimit, result.Checkpoint));
    }

    [Fact]
    public void NoDefaults_ChangeNothing()
    {
        DeepSpeedJobSpec spec = Some.Spec();

        Assert.Same(spec, new ClusterDefaults().Over(spec));
    }

    [Fact]
    public async Task Job_WithoutAnImage_RunsTheDefaultOne()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions { Defaults = Defaults });
        cluster.Apply("a", """{"numNodes":1}""");

        await cluster.Until(() => cluster.PodExists("a-1-0"), "pod exists");

        JsonNode pod = cluster.Api.Store.Find("pods", "a-1-0")!["spec"]!;
        Assert.Equal(("worker:default", "other"), ((string?)pod["containers"]![0]!["image"], (string?)pod["schedulerName"]));
        Assert.Null(cluster.Api.Store.Find("deepspeedjobs", "a")!["spec"]!["image"]);
    }
}
