using DeepSpeedSharp.Operator.Runtime;
using k8s.Models;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class EventFilterTests
{
    private readonly FakeTimeProvider _time = new();

    [Fact]
    public void SimilarEvents_BeyondTen_AreCountedUnderOne()
    {
        var filter = new EventFilter(_time);
        FilteredEvent[] passed = [.. Enumerable.Range(1, 12).Select(i => filter.Pass(Event($"message {i}")))];

        Assert.Equal(10, passed.Select(p => p.Key).Take(10).Distinct().Count());
        Assert.Equal("message 10", passed[9].Event!.Message);
        Assert.Equal("(combined from similar events): message 11", passed[10].Event!.Message);
        Assert.Equal(passed[10].Key, passed[11].Key);

        _time.Advance(TimeSpan.FromMinutes(11));
        Assert.Equal("message 13", filter.Pass(Event("message 13")).Event!.Message);
    }

    [Fact]
    public void Object_ThatTellsTooMuch_IsHeardAgainLater()
    {
        var filter = new EventFilter(_time);
        int heard = Enumerable.Range(0, 40).Count(i => filter.Pass(Event("m", reason: $"R{i}")).Event is not null);
        Assert.Equal(25, heard);
        Assert.NotNull(filter.Pass(Event("m", uid: "other")).Event);

        _time.Advance(TimeSpan.FromMinutes(5));
        Assert.NotNull(filter.Pass(Event("m")).Event);
        Assert.Null(filter.Pass(Event("m")).Event);
    }

    private static PublishedEvent Event(string message, string reason = "R", string uid = "u") =>
        new(new V1ObjectReference { Uid = uid, Name = "a", NamespaceProperty = "default" }, true, reason, message);
}
