using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>The jobs of a run: creating them, and seeing them come to their phase.</summary>
internal sealed class Load(ApiClient api)
{
    public const string Namespace = "default";
    public const string Jobs = $"/apis/deepspeedsharp.dev/v1alpha1/namespaces/{Namespace}/deepspeedjobs";
    public const string Pods = $"/api/v1/namespaces/{Namespace}/pods";
    private const int Parallel = 16;

    private readonly HashSet<string> _running = [];
    private readonly HashSet<string> _failed = [];

    /// <summary>When each job was first seen Running.</summary>
    public int Running
    {
        get
        {
            lock (_running)
            {
                return _running.Count;
            }
        }
    }

    /// <summary>A job that failed, which none should; null when there is none.</summary>
    public string? Failed
    {
        get
        {
            lock (_running)
            {
                return _failed.FirstOrDefault();
            }
        }
    }

    /// <summary>Creates jobs, many at a time.</summary>
    /// <returns>The time it took.</returns>
    public async Task<TimeSpan> CreateAsync(string prefix, int jobs, int nodes)
    {
        var clock = Stopwatch.StartNew();
        await System.Threading.Tasks.Parallel.ForEachAsync(Enumerable.Range(0, jobs),
            new ParallelOptions { MaxDegreeOfParallelism = Parallel },
            async (i, _) => await api.PostAsync(Jobs, Job(string.Create(CultureInfo.InvariantCulture, $"{prefix}-{i:0000}"), nodes)));
        return clock.Elapsed;
    }

    /// <summary>Sees jobs come and run until cancelled.</summary>
    public Task WatchAsync(CancellationToken stop) => api.WatchAsync(Jobs, seen =>
    {
        JsonElement job = seen.GetProperty("object");
        if (job.TryGetProperty("status", out JsonElement status) && status.TryGetProperty("phase", out JsonElement phase))
        {
            string name = job.GetProperty("metadata").GetProperty("name").GetString()!;
            lock (_running)
            {
                _ = phase.GetString() switch
                {
                    "Running" => _running.Add(name),
                    "Failed" => _failed.Add(name),
                    _ => false,
                };
            }
        }
    }, stop);

    /// <summary>Creates pods such as the operator makes, as fast as this program can: what the API server takes.</summary>
    /// <returns>Pods per second.</returns>
    public async Task<double> CreatePlainPodsAsync(int pods)
    {
        var clock = Stopwatch.StartNew();
        await System.Threading.Tasks.Parallel.ForEachAsync(Enumerable.Range(0, pods), new ParallelOptions { MaxDegreeOfParallelism = 50 },
            async (i, _) => await api.PostAsync(Pods, PlainPod(string.Create(CultureInfo.InvariantCulture, $"plain-{i}"))));
        return pods / clock.Elapsed.TotalSeconds;
    }

    // What a user of a GPU cluster writes. Progress is not asked for: nobody would answer.
    private static string Job(string name, int nodes) => $$"""
        {"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","metadata":{"name":"{{name}}","labels":{"team":"research"} },
         "spec":{"image":"registry.example/trainer:1.0","args":["train","--model=/models/gpt-small.json","--data=/data/tokens.bin"],
          "numNodes":{{nodes.ToString(CultureInfo.InvariantCulture)}},"gpusPerNode":8,"env":[{"name":"NCCL_DEBUG","value":"WARN"}],
          "resources":{"limits":{"cpu":"96","memory":"1600Gi"} },"checkpoint":{"claimName":"checkpoints"},"progress":{"mode":"None"},
          "config":{"train_micro_batch_size_per_gpu":4,"gradient_accumulation_steps":2,"zero_optimization":{"stage":2},"bf16":{"enabled":true},
           "optimizer":{"type":"AdamW","params":{"lr":0.0003,"betas":[0.9,0.95],"weight_decay":0.1} },
           "scheduler":{"type":"WarmupDecayLR","params":{"warmup_num_steps":100,"total_num_steps":10000} },"gradient_clipping":1.0} } }
        """;

    // About as large as a worker's pod.
    private static string PlainPod(string name) => JsonSerializer.Serialize(new
    {
        apiVersion = "v1",
        kind = "Pod",
        metadata = new { name },
        spec = new
        {
            restartPolicy = "Never",
            enableServiceLinks = false,
            containers = new[]
            {
                new
                {
                    name = "trainer",
                    image = "registry.example/trainer:1.0",
                    workingDir = "/workspace",
                    env = Enumerable.Range(0, 40).Select(i => new { name = $"VARIABLE_{i}", value = "a value as long as a host name has" }),
                    resources = new { limits = new Dictionary<string, string> { ["cpu"] = "96", ["memory"] = "1600Gi", ["nvidia.com/gpu"] = "8" } },
                },
            },
        },
    });
}
