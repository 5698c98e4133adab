using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Launcher.Tests.Cluster;

/// <summary>An API server with jobs, pods and logs, a folder with its kubeconfig, and the built program beside it.</summary>
internal sealed class JobCluster : IAsyncDisposable
{
    public const string Manifest = """
        apiVersion: deepspeedsharp.dev/v1alpha1
        kind: DeepSpeedJob
        metadata: { name: tiny, labels: { team: vision } }
        spec:
          image: worker:1
          numNodes: 2
          config: { train_batch_size: 8, optimizer: { type: AdamW, params: { lr: 1e-3 } } }
        """;

    private readonly FakeApi _api;
    private readonly JobFolder _folder = new();
    private readonly ConcurrentDictionary<string, (List<string> Lines, bool IsEnded)> _logs = new();

    private JobCluster(FakeApi api)
    {
        _api = api;
        api.Intercept = ServeAsync;
        _folder.Write("kubeconfig", Kubeconfig("here", api.Address, "default"));
        _folder.Write("job.yaml", Manifest);
    }

    public FakeApi Api => _api;

    public JobFolder Folder => _folder;

    /// <summary>Bodies of server-side applies.</summary>
    public ConcurrentQueue<JsonObject> Applied { get; } = new();

    public static async Task<JobCluster> StartAsync() => new(await FakeApi.StartAsync());

    public static string Kubeconfig(string name, string server, string ns) => $$"""
        apiVersion: v1
        kind: Config
        current-context: {{name}}
        clusters: [{ name: {{name}}, cluster: { server: "{{server}}" } }]
        users: [{ name: {{name}}, user: { token: secret } }]
        contexts: [{ name: {{name}}, context: { cluster: {{name}}, user: {{name}}, namespace: {{ns}} } }]
        """;

    public LauncherProcess Start(params string[] args) =>
        LauncherProcess.Start(_folder.Path, [("KUBECONFIG", _folder.Of("kubeconfig")), ("HOME", _folder.Path), ("NO_PROXY", "*")], args);

    public async Task<(int ExitCode, string Text)> RunAsync(params string[] args)
    {
        using LauncherProcess process = Start(args);
        return (await process.ExitAsync(), process.Text);
    }

    /// <summary>Makes a job as if it had been submitted before.</summary>
    public void Create(string name = "tiny", string ns = "default") => _api.Store.Create(
        new ResourcePath("deepspeedjobs", ns, null, null), new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = name },
            ["spec"] = new JsonObject { ["image"] = "worker:1", ["numNodes"] = 2 },
        });

    /// <summary>Sets the status as the operator does, for the spec as it is.</summary>
    public void Status(string status, string name = "tiny") => _api.Store.Change("deepspeedjobs", name, job =>
    {
        JsonObject all = JsonNode.Parse(status)!.AsObject();
        all["observedGeneration"] = job["metadata"]!["generation"]!.DeepClone();
        job["status"] = all;
    });

    /// <summary>Makes the pod of a node, running, with an empty log.</summary>
    public string Pod(int attempt, int node, string job = "tiny")
    {
        string name = $"{job}-{attempt}-{node}";
        _logs[name] = ([], false);
        _api.Store.Create(new ResourcePath("pods", "default", null, null), new JsonObject
        {
            ["metadata"] = new JsonObject
            {
                ["name"] = name,
                ["labels"] = new JsonObject
                {
                    ["deepspeedsharp.dev/job-name"] = job,
                    ["deepspeedsharp.dev/attempt"] = $"{attempt}",
                    ["deepspeedsharp.dev/node-rank"] = $"{node}",
                },
            },
            ["spec"] = new JsonObject { ["nodeName"] = "machine-1" },
            ["status"] = JsonNode.Parse("""{ "phase": "Running", "containerStatuses": [{ "name": "trainer", "state": { "running": {} } }] }"""),
        });
        return name;
    }

    public void Print(string pod, params string[] lines)
    {
        lock (_logs)
        {
            _logs[pod].Lines.AddRange(lines);
        }
    }

    /// <summary>Ends a pod's container.</summary>
    public void End(string pod)
    {
        _logs[pod] = (_logs[pod].Lines, true);
        _api.Store.Change("pods", pod, p => p["status"] = JsonNode.Parse("""{ "phase": "Succeeded" }"""));
    }

    public JsonObject? Job(string name = "tiny") => _api.Store.Find("deepspeedjobs", name);

    public async ValueTask DisposeAsync()
    {
        await _api.DisposeAsync();
        _folder.Dispose();
    }

    private async Task<bool> ServeAsync(HttpContext context)
    {
        var path = ResourcePath.Parse(context.Request.Path);
        if (path is { Plural: "pods", Subresource: "log" })
        {
            await LogAsync(context, path.Name!);
            return true;
        }

        if (context.Request.ContentType == "application/apply-patch+yaml")
        {
            JsonObject body = JsonNode.Parse(await new StreamReader(context.Request.Body).ReadToEndAsync(context.RequestAborted))!.AsObject();
            Applied.Enqueue(body.DeepClone().AsObject());
            JsonObject answer = _api.Store.Find(path.Plural, path.Name!, path.Namespace!) is null
                ? _api.Store.Create(path with { Name = null }, body) : _api.Store.Patch(path, body);
            await context.Response.WriteAsync(answer.ToJsonString(), context.RequestAborted);
            return true;
        }

        return false;
    }

    // Line n is written n tenths of a second after ten, so that some times have a fraction and some have none.
    private async Task LogAsync(HttpContext context, string pod)
    {
        if (!_logs.TryGetValue(pod, out (List<string> Lines, bool IsEnded) log))
        {
            context.Response.StatusCode = (int)HttpStatusCode.NotFound;
            return;
        }

        bool follow = context.Request.Query["follow"] == "true";
        DateTimeOffset since = DateTimeOffset.TryParse(context.Request.Query["sinceTime"], CultureInfo.InvariantCulture, out DateTimeOffset given)
            ? new DateTimeOffset(given.Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, TimeSpan.Zero) : default;
        int next = int.TryParse(context.Request.Query["tailLines"], out int tail) ? Math.Max(0, log.Lines.Count - tail) : 0;
        await context.Response.StartAsync(context.RequestAborted);
        while (true)
        {
            bool isEnded = _logs[pod].IsEnded;
            string[] lines;
            lock (_logs)
            {
                lines = [.. _logs[pod].Lines.Skip(next)];
            }

            foreach (string line in lines)
            {
                var time = new DateTimeOffset(2026, 1, 1, 10, 0, 0, TimeSpan.Zero).AddMilliseconds(100 * ++next);
                if (time >= since)
                {
                    await context.Response.WriteAsync($"{time.UtcDateTime:yyyy-MM-ddTHH:mm:ss.FFFFFFF}Z {line}\n", context.RequestAborted);
                    await context.Response.Body.FlushAsync(context.RequestAborted);
                }
            }

            if (!follow || isEnded)
            {
                return;
            }

            await Task.Delay(20, context.RequestAborted);
        }
    }
}
