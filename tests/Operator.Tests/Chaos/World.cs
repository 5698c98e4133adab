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

    /// <summary>A storm begins.</summary>
    public void BeginStorm()
    {
        Diary.Note($"a storm begins at event {Event}");
        Promises.BeforeStep = null;
        _judge.Reset();
        _faults.Rate = _dice.Of([0, 0.05, 0.1, 0.3]);
        TimeSpan lag = TimeSpan.FromSeconds(_dice.Of([0, 0, 1, 5]));
        _api.Distortion = _dice.Next(4) switch
        {
            0 => null,
            1 => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Twice = 0.1, Lost = 0.02, Exchanged = 0.1, Bookmarks = 0.05 },
            2 => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Cut = 0.05, Bookmarks = 0.2 },
            _ => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Twice = 0.05, Cut = 0.02, Silent = 0.003, Bookmarks = 0.1 },
        };
    }

    /// <summary>The storm is over: nothing but pods goes wrong any more, and the operators come to themselves.</summary>
    public async Task HealAsync()
    {
        _faults.Rate = 0;
        _distorted += _api.Distortion?.Count ?? 0;
        _api.Distortion = null;
        _api.Store.Terminating.Clear();
        _api.Up();
        await Replicas.HealAsync();
        _api.Store.Compact();
        _api.CutConnections(); // also what hangs
        for (int i = 0; i < 18; i++)
        {
            // In all more than a minute: what failed in the storm is tried again after that, at the latest.
            Replicas.Revive();
            Replicas.Advance(TimeSpan.FromSeconds(i < 5 ? 1 : 5));
            await QuietAsync();
            CollectGarbage(all: true);
        }

        await QuietAsync();
        Diary.Note($"the storm is over after event {Event}");
    }

    /// <summary>From now on everything goes well: every job comes to its end, and then nothing is written any more.</summary>
    public async Task EndAsync()
    {
        await HealAsync();
        _kubelet.Heal();
        for (int i = 0; _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)).Any(j => !j.IsFinished && j.Name != "foreign"); i++)
        {
            Assert.True(i < 2000, $"jobs do not end: {string.Join('\n', _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)).Where(j => !j.IsFinished))}");
            foreach (SeenJob job in _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)))
            {
                if (job.Spec?.Suspend == true)
                {
                    Edit(job.Name, """{"suspend":false}""");
                }
            }

            _kubelet.ServeAll();
            Replicas.Advance(TimeSpan.FromSeconds(1));
            await QuietAsync();
        }

        // Clocks that still run (a clean-up, a job's time after its end) may write once more each; then there is nothing left to write.
        int writes, rounds = 0;
        do
        {
            writes = _api.Writes;
            for (int i = 0; i < 12; i++)
            {
                _kubelet.ServeAll();
                Replicas.Advance(TimeSpan.FromSeconds(5));
                await QuietAsync();
            }
        }
        while (_api.Writes != writes && ++rounds < 10);

        Promises.Check();
        Assert.True(rounds < 10, "writes go on though nothing happens");
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
            && !context.Request.Path.Value!.EndsWith("/events", StringComparison.Ordinal);
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
