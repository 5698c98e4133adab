using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>What scheduler and kubelet would do to pods.</summary>
internal static class FakeKubelet
{
    public static void Run(this FakeApi api, string pod, string ip = "127.0.0.1", string machine = "node-1") => api.Store.Change("pods", pod, p =>
    {
        p["spec"]!["nodeName"] = machine;
        p["status"] = new JsonObject
        {
            ["phase"] = "Running",
            ["podIP"] = ip,
            ["conditions"] = new JsonArray(new JsonObject { ["type"] = "Ready", ["status"] = "True" }),
            ["containerStatuses"] = Container(new JsonObject { ["running"] = new JsonObject() }),
        };
    });

    public static void End(this FakeApi api, string pod, int exitCode, DateTimeOffset time, string? message = null, string? reason = null,
        bool asEvicted = false) => api.Store.Change("pods", pod, p =>
        {
            var terminated = new JsonObject
            {
                ["exitCode"] = exitCode,
                ["reason"] = reason ?? (exitCode == 0 ? "Completed" : "Error"),
                ["finishedAt"] = time.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ssZ"),
            };
            if (message is not null)
            {
                terminated["message"] = message;
            }

            p["spec"]!["nodeName"] ??= "node-1";
            p["status"] = new JsonObject
            {
                ["phase"] = exitCode == 0 ? "Succeeded" : "Failed",
                ["conditions"] = new JsonArray(new JsonObject { ["type"] = "Ready", ["status"] = "False" }),
                ["containerStatuses"] = Container(new JsonObject { ["terminated"] = terminated }),
            };
            if (asEvicted)
            {
                p["status"]!["reason"] = "Evicted";
            }
        });

    public static void Unschedulable(this FakeApi api, string pod, string message) => api.Store.Change("pods", pod, p =>
        p["status"] = new JsonObject
        {
            ["phase"] = "Pending",
            ["conditions"] = new JsonArray(new JsonObject
            {
                ["type"] = "PodScheduled",
                ["status"] = "False",
                ["reason"] = "Unschedulable",
                ["message"] = message,
            }),
        });

    /// <summary>Has a machine answer or not; creates it when there is none.</summary>
    public static void Machine(this FakeApi api, string name, bool isReady, DateTimeOffset since)
    {
        if (api.Store.Find("nodes", name, "") is null)
        {
            api.Store.Create(new ResourcePath("nodes", null, null, null), new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } });
        }

        api.Store.Change("nodes", name, n => n["status"] = new JsonObject
        {
            ["conditions"] = new JsonArray(new JsonObject
            {
                ["type"] = "Ready",
                ["status"] = isReady ? "True" : "Unknown",
                ["lastTransitionTime"] = since.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ssZ"),
            }),
        }, "");
    }

    /// <summary>Deletes an object as a user would who does not wait.</summary>
    public static void Kill(this FakeApi api, string plural, string name) =>
        api.Store.Delete(new ResourcePath(plural, "default", name, null), null);

    private static JsonArray Container(JsonObject state) => [new JsonObject { ["name"] = "trainer", ["state"] = state }];
}
