using System.Text;

namespace DeepSpeedSharp.Jobs.Tests;

public sealed class JobPlanTests
{
    private static readonly JobIdentity Identity = new("tiny", "research", "5f2a", 3, 1);

    // Set to 1 to rewrite golden/*.plan in the source tree, then review the difference.
    private const string Rewrite = "REWRITE_GOLDEN";

    [Theory]
    [InlineData("two-nodes")]
    [InlineData("two-nodes-of-two-slots")]
    public void From_Manifest_GivesTheGoldenPlan(string name)
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "golden");
        DeepSpeedJobSpec spec = DeepSpeedJobManifest.Load(Path.Combine(folder, $"{name}.yaml")).Spec;

        string plan = Describe(JobPlan.From(spec, Identity, ClusterPlacement(spec)));

        if (Environment.GetEnvironmentVariable(Rewrite) == "1")
        {
            // artifacts/bin/Jobs.Tests/{configuration}/ is four folders below the repository.
            string source = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../../tests/Jobs.Tests/golden"));
            File.WriteAllText(Path.Combine(source, $"{name}.plan"), plan);
        }

        Assert.Equal(File.ReadAllText(Path.Combine(folder, $"{name}.plan")), plan, ignoreLineEndingDifferences: true);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 1)]
    [InlineData(2, 8)]
    public void From_AnyShape_NumbersRanksInHostfileOrder(int nodes, int gpus)
    {
        var spec = new DeepSpeedJobSpec { NumNodes = nodes, GpusPerNode = gpus };

        JobPlan plan = JobPlan.From(spec, Identity, ClusterPlacement(spec));

        Assert.Equal(Enumerable.Range(0, nodes * gpus), plan.Nodes.SelectMany(node => node.Ranks).Select(rank => rank.Rank));
        Assert.All(plan.Nodes.SelectMany(node => node.Ranks), rank => Assert.Equal(rank.Rank % gpus, rank.LocalRank));
        Assert.Equal(plan.Nodes.Select(node => $"{node.HostName} slots={gpus}"),
            plan.Hostfile.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void From_OneSlot_NodeAndItsRankHaveTheSameEnvironment()
    {
        var spec = new DeepSpeedJobSpec { NumNodes = 2, GpusPerNode = 1 };

        JobPlan plan = JobPlan.From(spec, Identity, ClusterPlacement(spec));

        Assert.All(plan.Nodes, node => Assert.Equal(node.Environment, Assert.Single(node.Ranks).Environment));
        Assert.Contains(new("RANK", "1"), plan.Nodes[1].Environment);
        Assert.Contains(new("LOCAL_RANK", "0"), plan.Nodes[1].Environment);
    }

    [Fact]
    public void From_SeveralSlots_OnlyRanksHaveRank()
    {
        var spec = new DeepSpeedJobSpec { NumNodes = 2, GpusPerNode = 2 };

        JobPlan plan = JobPlan.From(spec, Identity, ClusterPlacement(spec));

        Assert.All(plan.Nodes, node => Assert.DoesNotContain(node.Environment, v => v.Key is "RANK" or "LOCAL_RANK"));
        Assert.Contains(new("RANK", "3"), plan.Nodes[1].Ranks[1].Environment);
        Assert.Contains(new("LOCAL_RANK", "1"), plan.Nodes[1].Ranks[1].Environment);
    }

    [Fact]
    public void From_NoConfigAndNoCheckpoint_LeavesTheirVariablesOut()
    {
        var spec = new DeepSpeedJobSpec();

        JobPlan plan = JobPlan.From(spec, Identity, ClusterPlacement(spec));

        Assert.DoesNotContain(plan.Nodes[0].Environment, v => v.Key is "DSJ_CONFIG" or "DS_CONFIG" or "DSJ_CHECKPOINT_DIR");
    }

    [Fact]
    public void From_EqualInputs_GivesEqualPlans()
    {
        var spec = new DeepSpeedJobSpec { NumNodes = 3, GpusPerNode = 2 };

        Assert.Equal(Describe(JobPlan.From(spec, Identity, ClusterPlacement(spec))),
            Describe(JobPlan.From(spec, Identity, ClusterPlacement(spec))));
    }

    private static JobPlacement ClusterPlacement(DeepSpeedJobSpec spec) => new(
        node => $"tiny-3-{node}.tiny", JobDefaults.MasterPort,
        spec.Config is null ? null : "/etc/deepspeed/ds_config.json", "/etc/deepspeed/hostfile",
        spec.Checkpoint is null ? null : "/checkpoints/tiny", _ => spec.MetricsPort());

    private static string Describe(JobPlan plan)
    {
        var text = new StringBuilder();
        text.Append($"world size {plan.WorldSize}, master {plan.MasterAddress}:{plan.MasterPort}\n\nhostfile\n{plan.Hostfile}");
        foreach (NodePlan node in plan.Nodes)
        {
            text.Append($"\nnode {node.Index} {node.HostName}\n{Lines(node.Environment, "  ")}");
            foreach (RankPlan rank in node.Ranks)
            {
                IEnumerable<KeyValuePair<string, string>> own = rank.Environment.Except(node.Environment);
                text.Append($"  rank {rank.Rank}, local {rank.LocalRank}{(own.Any() ? ", beside its node's:" : ", as its node")}\n{Lines(own, "    ")}");
            }
        }

        return text.ToString();
    }

    private static string Lines(IEnumerable<KeyValuePair<string, string>> variables, string indent) =>
        string.Concat(variables.Select(v => $"{indent}{v.Key}={v.Value}\n"));
}
