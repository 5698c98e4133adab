using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class WorkQueueTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly WorkQueue<string> _queue;

    public WorkQueueTests() => _queue = new WorkQueue<string>(_time, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10));

    [Fact]
    public async Task Key_AddedTwice_IsHandedOutOnce()
    {
        _queue.Add("a");
        _queue.Add("a");
        _queue.Add("b");

        Assert.Equal(["a", "b"], new[] { await Take(), await Take() });
        Assert.Equal(0, _queue.Count);
    }

    [Fact]
    public async Task Key_AddedDuringItsPass_IsHandedOutAfterIt()
    {
        _queue.Add("a");
        string key = await Take();
        _queue.Add("a");
        Assert.Equal(0, _queue.Count);

        _queue.Done(key);

        Assert.Equal("a", await Take());
    }

    [Fact]
    public async Task Take_WithoutKeys_WaitsForOne()
    {
        Task<string> take = Take();
        Assert.False(take.IsCompleted);

        _queue.Add("a");

        Assert.Equal("a", await take);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    [Trait("Scenario", "67")]
    public void Delays_BeforeAndAfterTheClockIsSet_ShortestCounts(int hours)
    {
        var clock = new ProcessClock(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        using var queue = new WorkQueue<string>(clock, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10));
        queue.AddAfter("a", TimeSpan.FromSeconds(60));
        clock.Error = TimeSpan.FromHours(hours);
        queue.AddAfter("a", TimeSpan.FromSeconds(5));
        queue.AddAfter("a", TimeSpan.FromSeconds(30));

        clock.Advance(TimeSpan.FromSeconds(4));
        Assert.Equal(0, queue.Count);
        clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(1, queue.Count);
    }

    [Fact]
    public void Delays_OfOneKey_ShortestCounts()
    {
        _queue.AddAfter("a", TimeSpan.FromSeconds(60));
        _queue.AddAfter("a", TimeSpan.FromSeconds(5));
        _queue.AddAfter("a", TimeSpan.FromSeconds(30));

        _time.Advance(TimeSpan.FromSeconds(4));
        Assert.Equal(0, _queue.Count);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(1, _queue.Count);
    }

    [Fact]
    public void Delay_ThatElapsed_IsOver()
    {
        _queue.AddAfter("a", TimeSpan.FromSeconds(5));
        _time.Advance(TimeSpan.FromSeconds(5));
        _queue.AddAfter("b", TimeSpan.FromSeconds(5));
        _time.Advance(TimeSpan.FromMinutes(10));

        Assert.Equal(2, _queue.Count);
    }

    [Fact]
    public void Failures_InARow_DoubleTheWait()
    {
        TimeSpan[] waits = [.. Enumerable.Range(0, 6).Select(_ => _queue.AddRateLimited("a"))];
        Assert.Equal([1, 2, 4, 8, 10, 10], waits.Select(w => w.TotalSeconds));

        _queue.Forget("a");

        Assert.Equal(1, _queue.AddRateLimited("a").TotalSeconds);
    }

    [Fact]
    public async Task ManyWorkers_NeverShareAKey()
    {
        const int Keys = 5, Adds = 400;
        var running = new int[Keys];
        var passes = new int[Keys];
        using var stop = new CancellationTokenSource();
        Task[] workers = [.. Enumerable.Range(0, 8).Select(_ => Task.Run(async () =>
        {
            while (true)
            {
                int key;
                try
                {
                    key = int.Parse(await _queue.TakeAsync(stop.Token));
                }
                catch (OperationCanceledException)
                {
                    return;
                }

                Assert.Equal(1, Interlocked.Increment(ref running[key]));
                await Task.Yield();
                passes[key]++;
                Interlocked.Decrement(ref running[key]);
                _queue.Done(key.ToString());
            }
        }))];

        for (int i = 0; i < Adds; i++)
        {
            _queue.Add((i % Keys).ToString());
            await Task.Yield();
        }

        while (_queue.Count > 0 || running.Any(r => r > 0))
        {
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        await stop.CancelAsync();
        await Task.WhenAll(workers);
        Assert.All(passes, p => Assert.InRange(p, 1, Adds));
    }

    public void Dispose() => _queue.Dispose();

    private Task<string> Take() => _queue.TakeAsync(TestContext.Current.CancellationToken);
}
