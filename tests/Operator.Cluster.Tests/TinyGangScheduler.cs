using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The least a coscheduling scheduler does: places the pods of a PodGroup when at least minMember of them exist and fit at
/// once, and until then none. It knows a job only by the objects that the operator makes.</summary>
internal sealed class TinyGangScheduler(Kubectl kubectl, string name)
{
    /// <summary>How many pods the cluster has room for.</summary>
    public int Room { get; set; }

    /// <summary>Looks at all pods once.</summary>
    /// <returns>Pods that were placed.</returns>
    public async Task<int> RunOnceAsync()
    {
        JsonNode[] pods = [.. JsonNode.Parse(await kubectl.GetAsync("get", "pods", "-o", "json"))!["items"]!.AsArray()
            .Where(p => (string?)p!["spec"]!["schedulerName"] == name && p["metadata"]!["deletionTimestamp"] is null).Select(p => p!)];
        string node = (await kubectl.GetAsync("get", "nodes", "-o", "name")).Split('/')[1];
        int free = Room - pods.Count(p => p["spec"]!["nodeName"] is not null && (string?)p["status"]!["phase"] is "Pending" or "Running");
        int placed = 0;
        foreach (IGrouping<string, JsonNode> group in pods.Where(p => p["spec"]!["nodeName"] is null)
            .GroupBy(p => (string?)p["metadata"]!["labels"]!["scheduling.x-k8s.io/pod-group"] ?? ""))
        {
            string minimum = await kubectl.GetAsync("get", "podgroups.scheduling.x-k8s.io", group.Key, "-o", "jsonpath={.spec.minMember}");
            if (group.Count() < int.Parse(minimum, System.Globalization.CultureInfo.InvariantCulture) || group.Count() > free)
            {
                continue;
            }

            foreach (JsonNode pod in group)
            {
                await BindAsync((string)pod["metadata"]!["name"]!, (string)pod["metadata"]!["namespace"]!, node);
                placed++;
            }
        }

        return placed;
    }

    private async Task BindAsync(string pod, string ns, string node)
    {
        string file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, new JsonObject
        {
            ["apiVersion"] = "v1",
            ["kind"] = "Binding",
            ["metadata"] = new JsonObject { ["name"] = pod, ["namespace"] = ns },
            ["target"] = new JsonObject { ["apiVersion"] = "v1", ["kind"] = "Node", ["name"] = node },
        }.ToJsonString());
        await kubectl.GetAsync("create", "--raw", $"/api/v1/namespaces/{ns}/pods/{pod}/binding", "-f", file);
        File.Delete(file);
    }
}
