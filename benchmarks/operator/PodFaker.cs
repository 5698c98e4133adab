using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Threading.Channels;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>Stands in for scheduler and kubelets: gives each new pod of a job a machine and says that it runs, at once.</summary>
/// <param name="api">The API server.</param>
internal sealed class PodFaker(ApiClient api)
{
    private const int Parallel = 32;
    private const int PodsPerMachine = 8;

    private readonly Channel<(string Name, long Seen)> _new = Channel.CreateUnbounded<(string, long)>();
    private readonly List<TimeSpan> _times = [];
    private readonly List<TimeSpan> _requests = [];
    private int _seen;

    /// <summary>Pods of jobs that were created.</summary>
    public int Created => Volatile.Read(ref _seen);

    /// <summary>Pods that run.</summary>
    public int Faked
    {
        get
        {
            lock (_times)
            {
                return _times.Count;
            }
        }
    }

    /// <summary>From the watch event of a pod to the answer that it runs: median and 99th percentile.</summary>
    public (TimeSpan Median, TimeSpan P99) Lag => Percentiles(_times);

    /// <summary>One request of the faker: what the API server takes at this load.</summary>
    public (TimeSpan Median, TimeSpan P99) Request => Percentiles(_requests);

    /// <summary>Watches and fakes until cancelled.</summary>
    public Task RunAsync(CancellationToken stop) => Task.WhenAll(
        [api.WatchAsync(Load.Pods, See, stop), .. Enumerable.Range(0, Parallel).Select(_ => FakeAsync(stop))]);

    private void See(JsonElement seen)
    {
        JsonElement metadata = seen.GetProperty("object").GetProperty("metadata");
        if (seen.GetProperty("type").GetString() == "ADDED" && metadata.TryGetProperty("labels", out JsonElement labels)
            && labels.TryGetProperty("deepspeedsharp.dev/job", out _))
        {
            _ = Interlocked.Increment(ref _seen);
            _ = _new.Writer.TryWrite((metadata.GetProperty("name").GetString()!, Stopwatch.GetTimestamp()));
        }
    }

    private async Task FakeAsync(CancellationToken stop)
    {
        await foreach ((string name, long seen) in _new.Reader.ReadAllAsync(stop))
        {
            int number = Volatile.Read(ref _seen);
            long begin = Stopwatch.GetTimestamp();
            await api.PostAsync($"{Load.Pods}/{name}/binding", string.Create(CultureInfo.InvariantCulture,
                $$"""{"apiVersion":"v1","kind":"Binding","metadata":{"name":"{{name}}"},"target":{"apiVersion":"v1","kind":"Node","name":"node-{{number / PodsPerMachine}}"} }"""));
            TimeSpan bound = Stopwatch.GetElapsedTime(begin);
            begin = Stopwatch.GetTimestamp();
            await api.PatchAsync($"{Load.Pods}/{name}/status", Running(number));
            lock (_times)
            {
                _requests.Add(bound);
                _requests.Add(Stopwatch.GetElapsedTime(begin));
                _times.Add(Stopwatch.GetElapsedTime(seen));
            }
        }
    }

    private static string Running(int number)
    {
        string now = TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        string Condition(string type) => $$"""{"type":"{{type}}","status":"True","lastTransitionTime":"{{now}}"}""";
        return string.Create(CultureInfo.InvariantCulture, $$"""
            {"status":{"phase":"Running","startTime":"{{now}}","podIP":"10.{{number >> 16}}.{{(number >> 8) & 255}}.{{number & 255}}",
             "conditions":[{{Condition("Initialized")}},{{Condition("Ready")}},{{Condition("ContainersReady")}},{{Condition("PodScheduled")}}],
             "containerStatuses":[{"name":"trainer","ready":true,"started":true,"restartCount":0,"image":"registry.example/trainer:1.0",
              "imageID":"registry.example/trainer@sha256:0","state":{"running":{"startedAt":"{{now}}"} } }]} }
            """);
    }

    private (TimeSpan, TimeSpan) Percentiles(List<TimeSpan> times)
    {
        lock (_times)
        {
            TimeSpan[] sorted = [.. times.Order()];
            return sorted.Length == 0 ? default : (sorted[sorted.Length / 2], sorted[sorted.Length * 99 / 100]);
        }
    }
}
