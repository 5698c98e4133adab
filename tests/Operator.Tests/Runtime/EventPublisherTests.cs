using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s;
using k8s.Models;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class EventPublisherTests
{
    [Fact]
    public async Task Event_Repeated_RaisesItsCount()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        using Kubernetes client = api.Client();
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        var events = new EventPublisher(new ApiConnection(client, time), "deepspeed-operator", time, NullLogger.Instance);
        using var stop = new CancellationTokenSource();
        Task run = events.RunAsync(stop.Token);
        var about = new V1ObjectReference { Kind = "DeepSpeedJob", Name = "a", NamespaceProperty = "default", Uid = "u" };

        events.Publish(new PublishedEvent(about, true, "Unschedulable", "no GPUs"));
        events.Publish(new PublishedEvent(about, true, "Unschedulable", "no GPUs"));
        events.Publish(new PublishedEvent(about, false, "Running", "it runs"));
        await stop.CancelAsync();
        await run;

        (string?, int?, string?)[] written = [.. api.Store.All("events").Select(e => ((string?)e["reason"], (int?)e["count"], (string?)e["type"])).Order()];
        Assert.Equal([("Running", 1, "Normal"), ("Unschedulable", 2, "Warning")], written);
        Assert.Contains(api.Requests, r => r.StartsWith("PATCH", StringComparison.Ordinal));
    }
}
