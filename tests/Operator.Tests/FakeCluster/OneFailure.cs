using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>The story of job "a" of two nodes: one of them fails once, which is counted, and then both succeed. However it is
/// disturbed, it must end in the same way.</summary>
internal static class OneFailure
{
    /// <summary>How it ends.</summary>
    public const string End = """
        Complete, attempt 2, restarts 1, disruptions 0
        pods created pods/a-1-0 pods/a-1-1 pods/a-2-0 pods/a-2-1
        pods a-1-1 a-2-0 a-2-1
        config maps a-2
        """;

    /// <summary>Creates the job.</summary>
    public static void Apply(FakeOperator cluster) => cluster.Apply("a", """{"image":"worker:1","numNodes":2,"config":{"train_batch_size":8}}""");

    /// <summary>What scheduler, kubelet and the program do next.</summary>
    public static void Step(FakeOperator cluster)
    {
        string? phase = (string?)cluster.Status("a")["phase"];
        foreach (JsonObject pod in cluster.Api.Store.All("pods"))
        {
            string name = (string)pod["metadata"]!["name"]!;
            string? podPhase = (string?)pod["status"]?["phase"];
            if (podPhase is null)
            {
                cluster.Api.Run(name);
            }
            else if (podPhase == "Running" && phase == "Running" && name == "a-1-1")
            {
                cluster.Api.End(name, 137, cluster.Time.GetUtcNow());
            }
            else if (podPhase == "Running" && phase == "Running" && name.StartsWith("a-2-", StringComparison.Ordinal))
            {
                cluster.Api.End(name, 0, cluster.Time.GetUtcNow());
            }
        }
    }

    /// <summary>Whether the job is complete and cleaned up.</summary>
    public static bool IsOver(FakeOperator cluster) => (string?)cluster.Status("a")["phase"] == "Complete";

    /// <summary>What there is.</summary>
    public static string State(FakeOperator cluster)
    {
        string[] created = [.. cluster.Api.Store.Created.Where(c => c.StartsWith("pods/", StringComparison.Ordinal)).Order()];
        JsonNode status = cluster.Status("a");
        return string.Join('\n',
            $"{status["phase"]}, attempt {status["attempt"]}, restarts {status["restarts"]}, disruptions {status["disruptions"]}",
            $"pods created {string.Join(' ', created)}",
            $"pods {string.Join(' ', cluster.Api.Store.All("pods").Select(p => (string?)p["metadata"]!["name"]))}",
            $"config maps {string.Join(' ', cluster.Api.Store.All("configmaps").Select(p => (string?)p["metadata"]!["name"]))}");
    }
}
