using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>An operator for some namespaces sees those and asks for no others.</summary>
public sealed class NamespacesTests
{
    [Fact]
    public async Task Operator_OfTwoNamespaces_LooksAfterBothAndNoOther()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions { Namespaces = ["one", "two"], WatchNodes = false });
        foreach (string ns in new[] { "one", "two", "three" })
        {
            cluster.Apply("a", ns: ns);
        }

        await cluster.Until(() => cluster.Api.Store.Find("pods", "a-1-1", "one") is not null && cluster.Api.Store.Find("pods", "a-1-1", "two") is not null,
            "pods of both exist");
        await cluster.Settle();

        Assert.Null(cluster.Api.Store.Find("pods", "a-1-0", "three"));
        Assert.DoesNotContain(cluster.Api.Requests, r => r.Contains("/three/", StringComparison.Ordinal) || r.EndsWith("/v1/pods", StringComparison.Ordinal)
            || r.EndsWith("/v1alpha1/deepspeedjobs", StringComparison.Ordinal) || r.EndsWith("/nodes", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Lists_OfOneNamespace_LeaveTheOtherAlone()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions { Namespaces = ["one", "two"], WatchNodes = false });
        cluster.Apply("a", ns: "one");
        cluster.Apply("b", ns: "two");
        await cluster.Until(() => cluster.Api.Store.Find("pods", "a-1-1", "one") is not null && cluster.Api.Store.Find("pods", "b-1-1", "two") is not null,
            "pods of both exist");
        await cluster.Until(() => new[] { ("a", "one"), ("b", "two") }.All(j => (int?)cluster.Api.Store.Find("deepspeedjobs", j.Item1, j.Item2)!["status"]?["createdAttempt"] == 1),
            "both say so");
        int writes = cluster.Api.Writes;

        // Every watch is told that its version is gone, and lists anew.
        cluster.Api.Store.Compact();
        await cluster.Settle();

        Assert.Equal(1, (int)cluster.Api.Store.Find("deepspeedjobs", "a", "one")!["status"]!["attempt"]!);
        Assert.Equal(1, (int)cluster.Api.Store.Find("deepspeedjobs", "b", "two")!["status"]!["attempt"]!);
        Assert.Equal(writes, cluster.Api.Writes);
    }

    [Fact]
    public void Replace_WithAScope_RemovesOnlyThere()
    {
        var cache = new ObjectCache<string>(_ => null);
        cache.Put("one/a", "1", "a");
        cache.Put("two/b", "2", "b");

        cache.Replace(new Dictionary<string, Cached<string>> { ["one/c"] = new("3", "c") }, "4", scope: "one/");

        Assert.Equal(["b", "c"], cache.All().Order());
    }
}
