using System.Collections.Immutable;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What kind of thing ended a pod.</summary>
internal enum Fate
{
    Disruption,
    Refusal,
    Counted,
}

/// <summary>Something that ended a pod.</summary>
/// <param name="Rank">Its index.</param>
/// <param name="Fate">What it was.</param>
/// <param name="At">When it happened.</param>
/// <param name="AfterSuccess">How long before that the pod had succeeded; null when it had not.</param>
internal sealed record Fact(int Rank, Fate Fate, DateTimeOffset At, TimeSpan? AfterSuccess)
{
    /// <summary>Whether the pod was made again, before all pods of its attempt were there.</summary>
    public bool IsMended { get; init; }
}

/// <summary>What there is at a moment.</summary>
internal sealed record Moment(ImmutableDictionary<string, SeenPod> Pods, ImmutableDictionary<string, Outage> Outages);

/// <summary>A time in which a machine did not answer.</summary>
internal sealed record Outage(DateTimeOffset Since, DateTimeOffset? Until)
{
    /// <summary>The one before it, whose end may not have been told yet.</summary>
    public Outage? Earlier { get; init; }
}

/// <summary>Everything that really happened, whatever the operator was told. Written under the lock of the store.</summary>
internal sealed class History(TimeProvider time)
{
    private static readonly TimeSpan Recent = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan OnItsWay = TimeSpan.FromSeconds(10);
    private readonly Dictionary<(string Job, int Attempt), List<Fact>> _facts = [];
    private readonly Dictionary<(string Job, int Attempt), Dictionary<int, DateTimeOffset>> _succeeded = [];
    private readonly Dictionary<(string Job, int Attempt, int Rank), DateTimeOffset> _successOfPod = [];
    private readonly List<(DateTimeOffset At, string Holder)> _holders = [];
    private readonly Dictionary<string, (int Attempt, bool IsFinished, DateTimeOffset At)> _changed = [];

    /// <summary>What happened last.</summary>
    public Diary Diary { get; } = new();

    /// <summary>What there is now.</summary>
    public Moment Now { get; private set; } = new([], []);

    /// <summary>Objects that somebody deleted by hand and that were not made again, as plural/name.</summary>
    public HashSet<string> DeletedByHand { get; } = [];

    /// <summary>ConfigMaps of attempts that were over already, by name: their request was on its way when somebody gave it up.</summary>
    public HashSet<string> LateConfigMaps { get; } = [];

    /// <summary>Whether a job has begun its attempt, or ended, so short a while ago that a request from before that may still
    /// arrive: whoever sent it gave it up, and the server carried it out for all that.</summary>
    /// <param name="job">UID of the job.</param>
    public bool HasJustChanged(string job) => _changed.TryGetValue(job, out (int, bool, DateTimeOffset At) known) && time.GetUtcNow() - known.At < OnItsWay;

    /// <summary>What ended pods of an attempt before they succeeded.</summary>
    /// <param name="job">UID of the job.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="mended">Whether also of pods that were made again.</param>
    public IReadOnlyList<Fact> Facts(string job, int attempt, bool mended = false) =>
        [.. (_facts.GetValueOrDefault((job, attempt)) ?? []).Where(f => mended || !f.IsMended)];

    /// <summary>Ranks that succeeded in an attempt.</summary>
    public IReadOnlySet<int> Succeeded(string job, int attempt) => _succeeded.GetValueOrDefault((job, attempt))?.Keys.ToHashSet() ?? [];

    /// <summary>How often the lease changed hands.</summary>
    public int Takeovers => _holders.Count(h => h.Holder.Length > 0);

    /// <summary>Whether a client held the lease at a moment.</summary>
    public bool Held(string client, DateTimeOffset moment) =>
        _holders.FindLast(h => h.At < moment).Holder == client || _holders.Any(h => h.At == moment && h.Holder == client);

    /// <summary>Whether the machine of a pod was silent for so long that it could be given up, now or a little while ago.</summary>
    /// <param name="pod">The pod.</param>
    /// <param name="nodeLoss">How long that is.</param>
    /// <param name="isTold">Whether the operator has heard of everything; else a machine that answers again may be silent to it.</param>
    public bool MayBeLost(SeenPod pod, TimeSpan nodeLoss, bool isTold) => pod.Machine is { } machine
        && Now.Outages.TryGetValue(machine, out Outage? outage)
        && (MayBeLost(outage, nodeLoss, isTold) || (!isTold && outage.Earlier is { } earlier && MayBeLost(earlier, nodeLoss, isTold)));

    private bool MayBeLost(Outage outage, TimeSpan nodeLoss, bool isTold) =>
        ((isTold ? outage.Until : null) ?? time.GetUtcNow()) - outage.Since >= nodeLoss - TimeSpan.FromSeconds(1)
        && (outage.Until is null || !isTold || time.GetUtcNow() - outage.Until < Recent);

    /// <summary>Notes a change.</summary>
    public void Note(StoreChange change)
    {
        Diary.Note(time.GetUtcNow(), change);
        switch (change.Plural)
        {
            case "pods":
                NotePod(change);
                break;
            case "nodes":
                NoteMachine(change);
                break;
            case "deepspeedjobs" when change.After is { } job:
                NoteJob(new SeenJob(job));
                break;
            case "leases":
                NoteLease(change.After);
                break;
            default:
                break;
        }

        if (change is { Verb: "create", After: { } made })
        {
            DeletedByHand.Remove($"{change.Plural}/{made["metadata"]!["name"]}");
        }
    }

    private void NotePod(StoreChange change)
    {
        (SeenPod? before, SeenPod? after) = (SeenPod.Read(change.Before), SeenPod.Read(change.After));
        if ((after ?? before) is not { } pod)
        {
            return;
        }

        Now = Now with { Pods = after is null ? Now.Pods.Remove(pod.Uid) : Now.Pods.SetItem(pod.Uid, after) };
        (string, int) key = (pod.JobUid, pod.Attempt);
        if (before is null && _facts.TryGetValue(key, out List<Fact>? earlier))
        {
            earlier.AddRange([.. earlier.Where(f => f.Rank == pod.Rank && !f.IsMended).Select(f => f with { IsMended = true })]);
            earlier.RemoveAll(f => f.Rank == pod.Rank && !f.IsMended);
        }

        if (before is null)
        {
            _successOfPod.Remove((pod.JobUid, pod.Attempt, pod.Rank));
        }

        if (after?.Phase == "Succeeded" && before?.Phase != "Succeeded")
        {
            (_succeeded.TryGetValue(key, out Dictionary<int, DateTimeOffset>? ranks) ? ranks : _succeeded[key] = []).TryAdd(pod.Rank, time.GetUtcNow());
            _successOfPod.TryAdd((pod.JobUid, pod.Attempt, pod.Rank), time.GetUtcNow());
        }

        // Also of one that succeeded: nobody may have heard of that yet.
        TimeSpan? afterSuccess = _successOfPod.TryGetValue((pod.JobUid, pod.Attempt, pod.Rank), out DateTimeOffset succeeded) ? time.GetUtcNow() - succeeded : null;
        bool vanished = after is null && change.Client is null;
        bool beginsToEnd = after?.DeletedAt is not null && before?.DeletedAt is null && change.Client is null;
        bool failed = after?.Phase == "Failed" && (before?.Phase != "Failed" || (after.WasEvicted && !before.WasEvicted));
        if (vanished || beginsToEnd)
        {
            Add(Fate.Disruption);
        }

        if (failed)
        {
            Add(Cause.FateOf(after!));
        }

        void Add(Fate fate) => (_facts.TryGetValue(key, out List<Fact>? facts) ? facts : _facts[key] = [])
            .Add(new Fact(pod.Rank, fate, time.GetUtcNow(), afterSuccess));
    }

    private void NoteJob(SeenJob job)
    {
        if (!_changed.TryGetValue(job.Uid, out (int Attempt, bool IsFinished, DateTimeOffset) known) || (known.Attempt, known.IsFinished) != (job.Attempt, job.IsFinished))
        {
            _changed[job.Uid] = (job.Attempt, job.IsFinished, time.GetUtcNow());
        }
    }

    private void NoteLease(JsonNode? lease)
    {
        string holder = (string?)lease?["spec"]?["holderIdentity"] ?? "";
        if (_holders.Count == 0 || _holders[^1].Holder != holder)
        {
            _holders.Add((time.GetUtcNow(), holder));
        }
    }

    private void NoteMachine(StoreChange change)
    {
        if (change.After is not { } machine)
        {
            return;
        }

        string name = (string)machine["metadata"]!["name"]!;
        JsonNode? ready = SeenPod.ConditionOf(machine["status"], "Ready");
        Outage? outage = Now.Outages.GetValueOrDefault(name);
        if (ready is null)
        {
            return;
        }

        bool wasSilent = outage is { Until: null };
        if ((string?)ready["status"] == "True")
        {
            outage = wasSilent ? outage! with { Until = time.GetUtcNow() } : outage;
        }
        else if (!wasSilent)
        {
            outage = new Outage(SeenPod.Time(ready["lastTransitionTime"])!.Value, null) { Earlier = outage is null ? null : outage with { Earlier = null } };
        }

        Now = Now with { Outages = outage is null ? Now.Outages : Now.Outages.SetItem(name, outage) };
    }
}
