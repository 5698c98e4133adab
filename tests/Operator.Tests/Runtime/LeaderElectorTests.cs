using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class LeaderElectorTests
{
    [Fact]
    public async Task Leader_ThatStops_GivesTheLeaseBackAtOnce()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        await using var first = new Replica(api, "a");
        await using var second = new Replica(api, "b");
        first.Start();
        await Until(api, () => first.Leads, first.Time);
        second.Start();
        await first.Stop();
        Assert.Equal("", Holder(api));

        // Nobody's clock moves further than one try.
        await Until(api, () => second.Leads, second.Time, most: TimeSpan.FromSeconds(6));

        Assert.False(first.Leads);
        Assert.Equal("b", Holder(api));
        Assert.Equal(1, (int)api.Store.Find("leases", "lock", "system")!["spec"]!["leaseTransitions"]!);
    }

    [Fact]
    public async Task Leader_ThatDies_IsReplacedAfterTheLease()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        await using var first = new Replica(api, "a");
        await using var second = new Replica(api, "b");
        first.Start();
        await Until(api, () => first.Leads, first.Time);
        second.Start();
        api.Kill("a");
        DateTimeOffset died = second.Time.GetUtcNow();

        await Until(api, () => second.Leads, second.Time);

        Assert.True(second.Time.GetUtcNow() - died >= TimeSpan.FromSeconds(15), "it took over early");
    }

    [Fact]
    public async Task Leader_CutOff_StopsBeforeAnotherCouldLeadAndSaysSo()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        await using var first = new Replica(api, "a");
        first.Start();
        await Until(api, () => first.Leads, first.Time);
        api.Kill("a");
        DateTimeOffset cut = first.Time.GetUtcNow();

        await Until(api, () => !first.Leads, first.Time);
        TimeSpan led = first.Time.GetUtcNow() - cut;
        await Until(api, () => first.Run.IsCompleted, first.Time);

        Assert.True(led < TimeSpan.FromSeconds(15), "another one could lead by now");
        await Assert.ThrowsAsync<LeadershipLostException>(() => first.Run);
        Assert.True(first.WasAborted);
    }

    [Fact]
    public async Task Leader_PausedForLong_WritesNothingAfterwards()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        await using var first = new Replica(api, "a");
        first.Start();
        await Until(api, () => first.Leads, first.Time);
        var guarded = new ApiConnection(first.Client, first.Time, () => first.Leads);

        // Like SIGSTOP: time goes on, and nothing of the process ran meanwhile.
        first.Time.Advance(TimeSpan.FromSeconds(30));

        LeadershipLostException e = await Assert.ThrowsAsync<LeadershipLostException>(() =>
            guarded.DeleteAsync("/api/v1/namespaces/default/pods/a", "uid", null, TestContext.Current.CancellationToken));
        Assert.Contains("was not sent", e.Message);
    }

    [Fact]
    public async Task TwoReplicas_ThatAreCutAtRandom_NeverLeadTogether()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        var random = new Random(7);
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using var first = new Replica(api, "a", time);
        await using var second = new Replica(api, "b", time);
        bool[] cut = new bool[2];
        api.Intercept = context =>
        {
            bool isCut = cut[context.Request.Headers.UserAgent.ToString() == "a" ? 0 : 1];
            if (isCut)
            {
                context.Abort();
            }

            return Task.FromResult(isCut);
        };
        (int firstLed, int secondLed) = (0, 0);
        for (int i = 0; i < 3000; i++)
        {
            first.StartAgainIfEnded();
            second.StartAgainIfEnded();
            if (random.Next(40) == 0)
            {
                cut[random.Next(2)] = random.Next(2) == 0;
            }

            time.Advance(TimeSpan.FromMilliseconds(random.Next(500)));
            for (int wait = 0; wait < 1000 && (api.IsBusy || (i % 3 == 0 && wait == 0)); wait++)
            {
                await Task.Delay(1, TestContext.Current.CancellationToken);
            }

            Assert.False(first.Leads && second.Leads, "two leaders");
            firstLed += first.Leads ? 1 : 0;
            secondLed += second.Leads ? 1 : 0;
        }

        Assert.True(firstLed > 50 && secondLed > 50, $"led {firstLed} and {secondLed} times");
    }

    private static string? Holder(FakeApi api) => (string?)api.Store.Find("leases", "lock", "system")?["spec"]!["holderIdentity"];

    // Time stands still while a request is on its way: on a busy machine that may take long.
    private static async Task Until(FakeApi api, Func<bool> condition, FakeTimeProvider time, TimeSpan? most = null)
    {
        DateTimeOffset begin = time.GetUtcNow();
        for (int i = 0; i < 12_000 && !condition(); i++)
        {
            if (!api.IsBusy && time.GetUtcNow() - begin < (most ?? TimeSpan.FromMinutes(5)))
            {
                time.Advance(TimeSpan.FromMilliseconds(100));
            }

            await Task.Delay(5, TestContext.Current.CancellationToken);
        }

        Assert.True(condition());
    }

    private sealed class Replica(FakeApi api, string name, FakeTimeProvider? time = null) : IAsyncDisposable
    {
        private CancellationTokenSource _stop = new();
        private LeaderElector? _elector;

        public FakeTimeProvider Time { get; } = time ?? new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

        public Kubernetes Client { get; } = api.Client(name);

        public Task Run { get; private set; } = Task.CompletedTask;

        public bool WasAborted { get; private set; }

        public bool Leads => _elector?.IsLeader == true;

        public void Start()
        {
            _elector = new LeaderElector(new ApiConnection(Client, Time),
                new LeaderOptions { Name = "lock", Namespace = "system", Identity = name }, Time, NullLogger.Instance);
            Run = _elector.RunAsync(async (stop, abort) =>
            {
                await Task.Delay(Timeout.Infinite, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                WasAborted = abort.IsCancellationRequested;
            }, _stop.Token);
        }

        public void StartAgainIfEnded()
        {
            if (Run.IsCompleted)
            {
                Start();
            }
        }

        public async Task Stop()
        {
            await _stop.CancelAsync();
            await Run.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            _stop = new CancellationTokenSource();
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            for (int i = 0; i < 200 && !Run.IsCompleted; i++)
            {
                Time.Advance(TimeSpan.FromSeconds(1));
                await Task.Delay(5);
            }

            Client.Dispose();
            _stop.Dispose();
        }
    }
}
