using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>A cluster in which much goes wrong: days on which only pods, machines and users do, and each step can be judged, and
/// storms in which the API server, watches, clocks and the operators themselves fail as well.</summary>
internal sealed class World : IAsyncDisposable
{
    private static readonly string[] Children = ["services", "configmaps", "poddisruptionbudgets"];
    private readonly ConcurrentDictionary<string, ProcessClock> _clocks = new();
    private readonly FakeApi _api;
    private readonly Dice _dice;
    private readonly ApiFaults _faults;
    private readonly Kubelet _kubelet;
    private readonly History _history;
    private readonly StateJudge _judge;
    private readonly Replication _replication;
    private int _edits;
    private int _distorted;
    private int _terminatingUntil;
    private bool _stopOrContinue;

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

    private void CalmEvent()
    {
        switch (_dice.Next(100))
        {
            case < 74:
                _kubelet.Serve(canFail: true);
                break;
            case < 79:
                _kubelet.Cascade(_dice.Of(ChaosJobs.Lively));
                break;
            case < 81:
                _kubelet.Flip();
                break;
            case < 84:
                Suspend();
                break;
            case < 89:
                EditJob();
                break;
            case < 91:
                _kubelet.Lose();
                break;
            case < 92:
                _kubelet.Evict();
                break;
            case < 93:
                DeleteChild();
                break;
            case < 94:
                _kubelet.IsCrowded = !_kubelet.IsCrowded;
                break;
            case < 95:
                DeleteJob();
                break;
            case < 96:
                CreateStray();
                break;
            default:
                CollectGarbage(all: false);
                break;
        }
    }

    // A pod with all labels of a job, which is somebody else's: it has no owner, or one of another kind.
    private void CreateStray()
    {
        if (_api.Store.Find("deepspeedjobs", _dice.Of(ChaosJobs.Lively)) is { } job)
        {
            string name = (string)job["metadata"]!["name"]!;
            _api.Store.Create(new ResourcePath("pods", "default", null, null), new JsonObject
            {
                ["metadata"] = new JsonObject
                {
                    ["name"] = $"stray-{Event}",
                    ["labels"] = new JsonObject
                    {
                        ["deepspeedsharp.dev/job"] = "true",
                        ["deepspeedsharp.dev/job-name"] = name,
                        ["deepspeedsharp.dev/job-uid"] = (string?)job["metadata"]!["uid"],
                        ["deepspeedsharp.dev/attempt"] = "1",
                        ["deepspeedsharp.dev/node-rank"] = "0",
                    },
                    ["ownerReferences"] = _dice.Chance(0.5) ? new JsonArray() : new JsonArray(new JsonObject
                    {
                        ["apiVersion"] = "batch/v1",
                        ["kind"] = "Job",
                        ["name"] = name,
                        ["uid"] = (string?)job["metadata"]!["uid"],
                        ["controller"] = true,
                    }),
                },
                ["spec"] = new JsonObject(),
                ["status"] = new JsonObject { ["phase"] = "Running" },
            });
        }
    }

    private void StormEvent()
    {
        if (Event >= _terminatingUntil)
        {
            _api.Store.Terminating.Clear();
        }

        switch (_dice.Next(1000))
        {
            case < 700:
                _kubelet.Serve(canFail: true);
                _kubelet.Serve(canFail: true);
                break;
            case < 715:
                _kubelet.Touch();
                break;
            case < 740:
                _kubelet.Cascade(_dice.Of(ChaosJobs.Lively));
                break;
            case < 760:
                _kubelet.Flip();
                break;
            case < 785:
                Suspend();
                break;
            case < 830:
                EditJob();
                break;
            case < 845:
                _kubelet.Lose();
                break;
            case < 855:
                _kubelet.Evict();
                break;
            case < 865:
                DeleteChild();
                break;
            case < 873:
                DeleteJob();
                break;
            case < 890:
                CollectGarbage(all: false);
                break;
            case < 900:
                _dice.Of(Replicas.Processes).Kill();
                break;
            case < 904:
                _dice.Of(Replicas.Processes).Terminate();
                break;
            case < 920:
                _stopOrContinue = true;
                break;
            case < 935:
                _api.Store.Compact();
                break;
            case < 950:
                _api.CutConnections();
                break;
            case < 955:
                _api.Down();
                break;
            case < 975:
                _api.Up();
                break;
            case < 985:
                // Another time of day; what measures durations does not change.
                ((ProcessClock)_dice.Of(Replicas.Processes).Clock).Error = TimeSpan.FromSeconds(_dice.Of([0, 0, 5, -5, 3600, -3600]));
                break;
            case < 987:
                Replicas.Advance(TimeSpan.FromMinutes(_dice.Of([1, 10])));
                break;
            case < 989:
                DeleteNamespace();
                break;
            default:
                break;
        }
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

    private void CreateMissingJobs()
    {
        foreach ((string name, string spec) in ChaosJobs.All)
        {
            if (_api.Store.Find("deepspeedjobs", name) is null && !_api.Store.Terminating.Contains("default"))
            {
                var body = JsonNode.Parse(spec)!.AsObject();
                if (_dice.Chance(0.1) && name != "malformed")
                {
                    body["suspend"] = true;
                }

                _api.Store.Create(new ResourcePath("deepspeedjobs", "default", null, null), new JsonObject
                {
                    ["apiVersion"] = "deepspeedsharp.dev/v1alpha1",
                    ["kind"] = "DeepSpeedJob",
                    ["metadata"] = new JsonObject { ["name"] = name },
                    ["spec"] = body,
                });
            }
        }
    }

    private void Suspend() => Edit(_dice.Of(ChaosJobs.Lively), _dice.Chance(0.35) ? """{"suspend":true}""" : """{"suspend":false}""");

    private void EditJob()
    {
        string job = _dice.Of([.. ChaosJobs.Lively, "foreign"]);
        Edit(job, ChaosJobs.Edit(job, ++_edits, _dice.Next));
    }

    private void Edit(string job, string spec) => _api.Store.Patch(
        new ResourcePath("deepspeedjobs", "default", job, null), new JsonObject { ["spec"] = JsonNode.Parse(spec) });

    private void DeleteJob() => _api.Kill("deepspeedjobs", _dice.Of(ChaosJobs.All).Name);

    private void DeleteChild()
    {
        string plural = _dice.Of(Children);
        if (_api.Store.All(plural) is { Count: > 0 } all)
        {
            string name = (string)_dice.Of(all)["metadata"]!["name"]!;
            _history.DeletedByHand.Add($"{plural}/{name}");
            _api.Kill(plural, name);
        }
    }

    private async Task StopOrContinueAsync()
    {
        // The worst moment is right before a write, and the best time to go on is when somebody else leads.
        if (Replicas.Processes.FirstOrDefault(p => ((ProcessClock)p.Clock).IsStopped) is { } stopped)
        {
            if (Replicas.Acting.Any(p => p != stopped) || _dice.Chance(0.2))
            {
                await stopped.ContinueAsync();
            }
        }
        else if (Replicas.Acting.ToArray() is { Length: > 0 } acting)
        {
            _dice.Of(acting).StopAtNextWrite();
        }
    }

    // As `kubectl delete namespace` does: nothing new is taken, and everything goes, in no order.
    private void DeleteNamespace()
    {
        _api.Store.Terminating.Add("default");
        _terminatingUntil = Event + 30;
        foreach (string plural in _dice.Shuffle([.. Children, "pods", "deepspeedjobs", "events"]))
        {
            foreach (JsonObject item in _api.Store.All(plural))
            {
                Try(() => _api.Store.Delete(new ResourcePath(plural, "default", (string)item["metadata"]!["name"]!, null), null, atOnce: _dice.Chance(0.5)));
            }
        }
    }

    // Kubernetes' garbage collector, which may come late.
    private void CollectGarbage(bool all)
    {
        HashSet<string?> alive = [.. _api.Store.All("deepspeedjobs").Select(j => (string?)j["metadata"]!["uid"])];
        foreach (string plural in Children.Append("pods"))
        {
            foreach (JsonObject item in _api.Store.All(plural).Where(o => SeenPod.OwnerOf(o["metadata"]!) is { } owner && !alive.Contains((string?)owner["uid"])))
            {
                if (all || _dice.Chance(0.7))
                {
                    Try(() => _api.Kill(plural, (string)item["metadata"]!["name"]!));
                }
            }
        }
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
