using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class LaunchPlanTests
{
    [Fact]
    public void From_InheritedVariables_KeepsAllButTheJobsOwn()
    {
        LaunchPlan plan = Plan(new DeepSpeedJobSpec(), ("PATH", "/bin"), ("RANK", "7"), ("DSJ_CHECKPOINT_DIR", "/old"));

        IReadOnlyDictionary<string, string> environment = plan.Nodes[0].Environment;
        Assert.Equal("/bin", environment["PATH"]);
        Assert.Equal("0", environment["RANK"]);
        Assert.DoesNotContain("DSJ_CHECKPOINT_DIR", environment.Keys);
    }

    [Theory]
    [InlineData(1, "16")]
    [InlineData(3, "5")]
    [InlineData(32, "1")]
    public void From_Threads_SharesTheProcessors(int nodes, string expected)
    {
        LaunchPlan plan = Plan(new DeepSpeedJobSpec { NumNodes = nodes });

        Assert.All(plan.Nodes, node => Assert.Equal(expected, node.Environment["OMP_NUM_THREADS"]));
        Assert.All(plan.Nodes, node => Assert.Equal("PASSIVE", node.Environment["OMP_WAIT_POLICY"]));
    }

    [Fact]
    public void From_ThreadsChosenByTheUser_AreKept()
    {
        var spec = new DeepSpeedJobSpec { Env = [new EnvVar { Name = "OMP_WAIT_POLICY", Value = "ACTIVE" }] };

        LaunchPlan plan = Plan(spec, ("OMP_NUM_THREADS", "3"));

        Assert.Equal("3", plan.Nodes[0].Environment["OMP_NUM_THREADS"]);
        Assert.Equal("ACTIVE", plan.Nodes[0].Environment["OMP_WAIT_POLICY"]);
    }

    [Theory]
    [InlineData(2, 0, null, "", "")]
    [InlineData(2, 2, null, "0,1", "2,3")]
    [InlineData(2, 1, "5,7", "5", "7")]
    public void From_Gpus_GivesEachNodeItsOwn(int nodes, int gpus, string? visible, string first, string second)
    {
        var spec = new DeepSpeedJobSpec { NumNodes = nodes, GpusPerNode = gpus };

        LaunchPlan plan = visible is null ? Plan(spec) : Plan(spec, ("CUDA_VISIBLE_DEVICES", visible));

        Assert.Equal(first, plan.Nodes[0].Environment["CUDA_VISIBLE_DEVICES"]);
        Assert.Equal(second, plan.Nodes[1].Environment["CUDA_VISIBLE_DEVICES"]);
    }

    [Fact]
    public void From_Labels_NameRanksAndNodes()
    {
        LaunchNode single = Plan(new DeepSpeedJobSpec { NumNodes = 2 }).Nodes[1];
        LaunchNode several = Plan(new DeepSpeedJobSpec { NumNodes = 2, GpusPerNode = 4 }).Nodes[1];

        Assert.Equal(("rank 1", "rank 1 (node 1)"), (single.Label, single.FullName));
        Assert.Equal(("node 1", "node 1 (ranks 4 to 7)"), (several.Label, several.FullName));
    }

    [Fact]
    public void From_ManyNodes_GivesEachALoopbackAddress()
    {
        Assert.Equal("127.0.0.1", LaunchPlan.HostName(0));
        Assert.Equal("127.0.1.0", LaunchPlan.HostName(255));
        Assert.Equal(10_000, Enumerable.Range(0, 10_000).Select(LaunchPlan.HostName).Distinct().Count());
    }

    [Fact]
    public void From_WorkerAndArguments_MakeTheCommandLine()
    {
        var spec = new DeepSpeedJobSpec { Args = ["train", "--name=$(DSJ_JOB_NAME)"] };

        Assert.Equal(["/opt/worker", "train", "--name=tiny"], Plan(spec).Nodes[0].CommandLine);
        Assert.Equal(["own", "train", "--name=tiny"], Plan(spec with { Command = ["own"] }).Nodes[0].CommandLine);
    }

    [Fact]
    public void Check_ValueFrom_ReportsEach()
    {
        var errors = new ConfigErrors();

        LaunchPlan.Check(new DeepSpeedJobSpec
        {
            Env = [new EnvVar { Name = "A", ValueFrom = [] }, new EnvVar { Name = "B" }, new EnvVar { Name = "C", ValueFrom = [] }],
        }, errors);

        Assert.Equal(["spec.env[0].valueFrom", "spec.env[2].valueFrom"], errors.All.Select(e => e.Path));
    }

    private static LaunchPlan Plan(DeepSpeedJobSpec spec, params (string Name, string Value)[] environment)
    {
        var identity = new JobIdentity("tiny", "default", "uid", 1, 0);
        var placement = new JobPlacement(LaunchPlan.HostName, 29500, null, "/hostfile", null, node => 9400 + node);
        return LaunchPlan.From(spec, identity, placement, "/opt/worker",
            new LocalMachine("here", 16, environment.ToDictionary(v => v.Name, v => v.Value)));
    }
}
