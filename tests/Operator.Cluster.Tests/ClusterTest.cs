namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>A story on the cluster. Without a cluster it is skipped, and says why.</summary>
[Trait("Category", "Cluster")]
public abstract class ClusterTest(TestCluster cluster)
{
    /// <summary>The cluster.</summary>
    protected TestCluster Cluster { get; } = cluster;

    private protected Kubectl Story(string name)
    {
        Assert.SkipWhen(Cluster.SkipReason is not null, Cluster.SkipReason ?? "");
        return new Kubectl(Cluster, name);
    }

    private protected static void NeedsThisMachine(string what) =>
        Assert.SkipUnless(TestCluster.IsOwn, $"{what} is possible only on the cluster of tests/cluster");
}
