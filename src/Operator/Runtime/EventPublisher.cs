using System.Globalization;
using System.Threading.Channels;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>One event to show under an object.</summary>
/// <param name="About">The object.</param>
/// <param name="IsWarning">Whether it tells of trouble.</param>
/// <param name="Reason">Why, in one word.</param>
/// <param name="Message">What happened, in a sentence.</param>
internal sealed record PublishedEvent(V1ObjectReference About, bool IsWarning, string Reason, string Message);

/// <summary>Writes events in the background. A repeated event raises the count of the first one.</summary>
/// <remarks>Events are a courtesy: when there are too many, or the API server is away, the oldest are dropped.</remarks>
/// <param name="api">The API server.</param>
/// <param name="component">Who tells.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class EventPublisher(ApiConnection api, string component, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Repeat = TimeSpan.FromMinutes(10);
    private const int MostRemembered = 4096;

    private readonly Channel<PublishedEvent> _channel = Channel.CreateBounded<PublishedEvent>(
        new BoundedChannelOptions(4000) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });

    private readonly EventFilter _filter = new(time);
    private readonly Dictionary<string, Written> _written = [];

    /// <summary>Hands an event over; never waits.</summary>
    public void Publish(PublishedEvent e) => _channel.Writer.TryWrite(e);

    /// <summary>Writes events until cancelled, then what is left for a few seconds more.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            await foreach (PublishedEvent e in _channel.Reader.ReadAllAsync(stop))
            {
                await WriteAsync(e, CancellationToken.None);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5), time);
            while (!limit.IsCancellationRequested && _channel.Reader.TryRead(out PublishedEvent? e))
            {
                await WriteAsync(e, limit.Token);
            }
        }
    }

    private async Task WriteAsync(PublishedEvent published, CancellationToken cancel)
    {
        DateTimeOffset now = time.GetUtcNow();
        (PublishedEvent? passed, string key) = _filter.Pass(published);
        if (passed is not { } e)
        {
            Log.EventLost(log, published.Reason, published.About.Name, "the object has told too much of late");
            return;
        }

        string path = $"/api/v1/namespaces/{e.About.NamespaceProperty}/events";
        try
        {
            if (_written.TryGetValue(key, out Written? earlier) && now - earlier.Last < Repeat)
            {
                string patch = string.Create(CultureInfo.InvariantCulture,
                    $$"""{"count":{{earlier.Count + 1}},"lastTimestamp":"{{now.UtcDateTime:yyyy-MM-ddTHH:mm:ss}}Z"}""");
                await api.MergePatchAsync($"{path}/{earlier.Name}", patch, cancel);
                _written[key] = earlier with { Count = earlier.Count + 1, Last = now };
                return;
            }

            Corev1Event created = Create(e, now);
            await api.PostAsync(path, created, cancel);
            Remember(key, new Written(created.Metadata.Name, 1, now));
        }
        catch (Exception failure) when (failure is ApiException or HttpRequestException or TimeoutException
            or IOException or OperationCanceledException)
        {
            _written.Remove(key);
            Log.EventLost(log, e.Reason, e.About.Name, failure.Message);
        }
    }

    private Corev1Event Create(PublishedEvent e, DateTimeOffset now)
    {
        DateTime second = new(now.UtcTicks - now.UtcTicks % TimeSpan.TicksPerSecond, DateTimeKind.Utc);
        return new Corev1Event
        {
            ApiVersion = "v1",
            Kind = "Event",
            Metadata = new V1ObjectMeta
            {
                Name = string.Create(CultureInfo.InvariantCulture, $"{e.About.Name}.{now.UtcTicks + _written.Count:x}"),
                NamespaceProperty = e.About.NamespaceProperty,
            },
            InvolvedObject = e.About,
            Type = e.IsWarning ? "Warning" : "Normal",
            Reason = e.Reason,
            Message = e.Message.Length > 1000 ? string.Concat(e.Message.AsSpan(0, 997), "...") : e.Message,
            Count = 1,
            FirstTimestamp = second,
            LastTimestamp = second,
            Source = new V1EventSource { Component = component },
            ReportingComponent = component,
            ReportingInstance = Environment.MachineName,
        };
    }

    private void Remember(string key, Written written)
    {
        if (_written.Count >= MostRemembered)
        {
            foreach (string old in _written.OrderBy(w => w.Value.Last).Take(MostRemembered / 2).Select(w => w.Key).ToArray())
            {
                _written.Remove(old);
            }
        }

        _written[key] = written;
    }

    private sealed record Written(string Name, int Count, DateTimeOffset Last);
}
