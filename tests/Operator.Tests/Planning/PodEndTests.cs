using DeepSpeedSharp.Operator.Planning;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Planning;

/// <summary>How long a pod takes to end is measured: a clock that is wrong must not force away one that still saves.</summary>
public sealed class PodEndTests
{
    private readonly FakeTimeProvider _time = new(Some.Now);

    [Theory]
    [InlineData(0)]
    [InlineData(3600)]
    [InlineData(-3600)]
    public void Deletion_SeenWhenItWasAskedFor_IsOverdueAfterGraceAndNodeLoss_WhateverTheTimeOfDay(int error)
    {
        PodSnapshot deleted = Deleted(_time.GetUtcNow());
        _time.AdjustTime(_time.GetUtcNow().AddSeconds(error));
        PodSnapshot seen = deleted.Following(Some.RunningPod(0), isNews: true, _time);

        Assert.False(IsLost(seen));
        _time.Advance(TimeSpan.FromSeconds(178));
        Assert.False(IsLost(seen.Following(seen, isNews: true, _time)));
        _time.Advance(TimeSpan.FromSeconds(4));
        Assert.True(IsLost(seen.Following(seen, isNews: true, _time)));
    }

    [Fact]
    public void Deletion_ThatWasThereBefore_IsAsOldAsTheClockSays()
    {
        PodSnapshot deleted = Deleted(_time.GetUtcNow().AddSeconds(-170));

        PodSnapshot seen = deleted.Following(null, isNews: false, _time);

        Assert.False(IsLost(seen));
        _time.Advance(TimeSpan.FromSeconds(12));
        Assert.True(IsLost(seen));
    }

    [Fact]
    public void Deletion_OfAnotherPodOfThatName_IsMeasuredAnew()
    {
        PodSnapshot first = Deleted(_time.GetUtcNow()).Following(null, isNews: true, _time);
        _time.Advance(TimeSpan.FromSeconds(200));

        PodSnapshot second = (Deleted(_time.GetUtcNow()) with { Uid = "another" }).Following(first, isNews: true, _time);

        Assert.True(IsLost(first));
        Assert.False(IsLost(second));
    }

    // With a grace period of 120 s; the machine is given up after another 60.
    private static PodSnapshot Deleted(DateTimeOffset at) =>
        Some.RunningPod(0) with { DeletedAt = at, DeletionDeadline = at.AddSeconds(120) };

    private bool IsLost(PodSnapshot pod) =>
        (Some.RunningJob() with { Pods = [pod.Here(_time)], Now = _time.GetUtcNow() }).IsLost(pod.Here(_time));
}
