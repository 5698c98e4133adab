using System.Collections.Concurrent;
using System.Globalization;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>A cluster in which much goes wrong: days on which only pods, machines and users do, and each step can be judged, and
/// storms in which the API server, watches, clocks and the operators themselves fail as well.</summary>
internal sealed partial class World : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, ProcessClock> _clocks = new();
    private readonly FakeApi _api;
    private readonly Dice _dice;
    private readonly ApiFaults _faults;
    private readonly Kubelet _kubelet;
    private readonly History _history;
    private readonly StateJudge _judge;
    private readonly Replication _replication;
    private int _distorted;

    private World(FakeApi api, Replication replication, int seed)
    {
        (_api, _replication, _dice) = (api, replication, new Dice(seed));
        api.Store.Time = Time;
        api.Store.PodsEndSlowly = true;
        _history = new History(Time);
        _kubelet = new Kubelet(api, _history, _dice, Time);
        _faults = new ApiFaults(_dice.Chance, _dice.Next);
        api.Intercept = InterceptAsync;
        api.Answering = _faults.FateOfAnswer;
        Promises = new Promises(api.Store, _history, name => _clocks[name], replication == Replication.Raced);
        _judge = new StateJudge(api.Store, _history, Promises.Expect, replication == Replication.Raced);
        _kubelet.Heal();
        Replicas = new Replicas(api, Time, replication, _clocks);
    }

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public Promises Promises { get; }

    public Replicas Replicas { get; }

    /// <summary>What happened last.</summary>
    public Diary Diary => _history.Diary;

    /// <summary>Number of the event that happens now.</summary>
    public int Event { get; private set; }

    /// <summary>What happened, by name and number.</summary>
    public SortedDictionary<string, int> Seen
    {
        get
        {
            var all = new SortedDictionary<string, int>(Promises.Seen)
            {
                ["failed requests"] = _faults.Count,
                ["distorted events"] = _distorted + (_api.Distortion?.Count ?? 0),
                ["operators started"] = Replicas.Starts,
                ["takeovers"] = _history.Takeovers,
            };
            return all;
        }
    }

    public static async Task<World> StartAsync(Replication replication, int seed)
    {
        FakeApi api = await FakeApi.StartAsync();
        api.Definition = JobDefinition.Build();
        return new World(api, replication, seed);
    }

    /// <summary>A step of a calm day: one thing happens, the operator does what it does, and everything is judged.</summary>
    public async Task CalmStepAsync()
    {
        Event++;
        Promises.BeforeStep = _history.Now;
        CreateMissingJobs();
        Try(CalmEvent);
        Replicas.Advance(TimeSpan.FromMilliseconds(_dice.Next(650) + 50));
        await QuietAsync();
        if (Replicas.ActsSince is { } since)
        {
            _judge.Judge(Time.GetUtcNow(), since);
        }

        Promises.Check();
    }

    /// <summary>A step of a storm: things happen, and nobody waits for anybody.</summary>
    public async Task StormStepAsync()
    {
        Event++;
        CreateMissingJobs();
        Try(StormEvent);
        if (_stopOrContinue)
        {
            _stopOrContinue = false;
            await StopOrContinueAsync();
        }

        Replicas.Revive();
        Replicas.Advance(TimeSpan.FromMilliseconds(_dice.Next(650) + 50));
        await Task.Delay(Event % 4 == 0 ? 1 : 0, TestContext.Current.CancellationToken);
        Promises.Check();
    }

    public async ValueTask DisposeAsync()
    {
        await Replicas.DisposeAsync();
        await _api.DisposeAsync();
    }

    // Until the operators that act have seen everything and have nothing to do. What needs time for it gets some: at once when
    // nobody works, as after a storm, else only when it takes very long.
    private async Task QuietAsync()
    {
        for (int i = 0, idle = 0; i < 20_000; i++)
        {
            bool isSilent = Replicas.Processes.All(p => p.InFlight == 0);
            if (isSilent && Replicas.Acting.Any() && Replicas.Acting.All(p => p.IsQuiet))
            {
                return;
            }

            if (i < 10)
            {
                await Task.Yield();
                continue;
            }

            await Task.Delay(1, TestContext.Current.CancellationToken);
            idle = isSilent ? idle + 1 : 0;
            if (idle == (Promises.BeforeStep is null ? 5 : 50) || i % 200 == 199)
            {
                idle = 0;
                await Replicas.HealAsync();
                Replicas.Revive();
                Replicas.Advance(TimeSpan.FromMilliseconds(500));
            }
        }

        Assert.Fail("the operators do not come to rest");
    }

    private async Task<bool> InterceptAsync(HttpContext context)
    {
        bool isWrite = context.Request.Method != "GET" && !context.Request.Path.Value!.Contains("/leases", StringComparison.Ordinal)
            && !context.Request.Path.Value!.Contains("/events", StringComparison.Ordinal);
        if (isWrite && _replication == Replication.Elected)
        {
            string client = context.Request.Headers.UserAgent.ToString();
            var sent = new DateTimeOffset(long.Parse(context.Request.Headers[OperatorProcess.SentHeader].ToString(), CultureInfo.InvariantCulture), TimeSpan.Zero);
            Promises.Expect(_history.Held(client, sent),
                $"{client} sent {context.Request.Method} {context.Request.Path} at {sent:HH:mm:ss.fff}, when it did not hold the lease");
        }

        return await _faults.FailAsync(context);
    }

    // The object may have gone in this moment.
    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (StoreException)
        {
        }
    }
}
