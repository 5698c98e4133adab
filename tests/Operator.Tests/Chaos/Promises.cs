using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What the operator promises about every single write, judged at the moment the API server takes it.</summary>
/// <remarks>These hold in any weather: an operator that was told nothing, or nonsense, may do nothing, but nothing wrong.</remarks>
internal sealed class Promises
{
    private static readonly TimeSpan LongestPass = TimeSpan.FromMinutes(2);
    private readonly ObjectStore _store;
    private readonly History _history;
    private readonly Func<string, ProcessClock> _clockOf;
    private readonly bool _areMany;
    private readonly StatusPromises _statuses;
    private readonly List<string> _broken = [];
    private readonly PodPromises _pods;

    /// <summary>Begins to judge.</summary>
    /// <param name="store">The cluster.</param>
    /// <param name="history">What really happened.</param>
    /// <param name="clockOf">Clock of a client.</param>
    /// <param name="areMany">Whether several operators act at a time, by mistake; each then knows less of what the others do.</param>
    public Promises(ObjectStore store, History history, Func<string, ProcessClock> clockOf, bool areMany)
    {
        (_store, _history, _clockOf, _areMany) = (store, history, clockOf, areMany);
        _statuses = new StatusPromises(history, Expect) { AreMany = areMany };
        _pods = new PodPromises(store, history, _statuses, Expect, JobOf);
        store.Changing = change =>
        {
            if (change.Client is not null)
            {
                Judge(change);
            }

            history.Note(change);
        };
    }

    /// <summary>How often things happened that some promise is about.</summary>
    public SortedDictionary<string, int> Seen => _statuses.Seen;

    /// <summary>What was there before the step that is being made, when the operator knew all of it; null in bad weather.</summary>
    public Moment? BeforeStep
    {
        get => _statuses.BeforeStep;
        set => _statuses.BeforeStep = value;
    }

    /// <summary>Notes a broken promise.</summary>
    public void Expect(bool holds, string what)
    {
        if (!holds)
        {
            lock (_broken)
            {
                _broken.Add(what);
            }
        }
    }

    /// <summary>Fails when a promise was broken.</summary>
    public void Check()
    {
        lock (_broken)
        {
            Assert.True(_broken.Count == 0, string.Join('\n', _broken.Take(5)));
        }
    }

    private void Judge(StoreChange change)
    {
        DateTimeOffset now = _clockOf(change.Client!).LatestSeen(LongestPass);
        switch (change)
        {
            case { Plural: "pods", Verb: "create" }:
                _pods.IsAllowed(change.After!, now);
                break;
            case { Plural: "pods", Verb: "delete" }:
                _pods.MayGo(change.Before!, isForced: change.After is null);
                break;
            case { Plural: "configmaps", Verb: "create" }:
                ConfigMapIsAllowed(change.After!);
                break;
            case { Plural: "configmaps", Verb: "delete" }:
                ConfigMapMayGo(change.Before!);
                break;
            case { Plural: "deepspeedjobs", Verb: "delete" }:
                JobMayGo(new SeenJob(change.Before!), now);
                break;
            case { Plural: "deepspeedjobs", Verb: "patch" }:
                (SeenJob before, SeenJob after) = (new SeenJob(change.Before!), new SeenJob(change.After!));
                Expect(!JsonNode.DeepEquals(before.Status, after.Status), $"a status was written that says nothing new: {after}");
                _statuses.Judge(before, after);
                break;
            case { Verb: "apply" } when !_areMany:
                Expect(!JsonNode.DeepEquals(change.Before, change.After), $"{Name(change.After!)} of {change.Plural} was applied and did not change");
                break;
            default:
                break;
        }

        if (change.Plural is not "leases" and not "events" && JobOf((change.After ?? change.Before)!, change.Plural) is { Spec: { } spec } job)
        {
            Expect(string.IsNullOrEmpty(spec.ManagedBy), $"{change.Verb} of {change.Plural} for {job.Name}, which is managed by {spec.ManagedBy}");
        }
    }

    private void ConfigMapIsAllowed(JsonObject body)
    {
        if (JobOf(body, "configmaps") is { } job && int.TryParse(SeenPod.Label(body["metadata"]!, "attempt"), out int attempt) && attempt != job.Attempt)
        {
            bool mayBeLate = _areMany || (BeforeStep is null && _history.HasJustChanged(job.Uid));
            Expect(mayBeLate && attempt < job.Attempt, $"ConfigMap {Name(body)} was created in attempt {job.Attempt}");
            _history.LateConfigMaps.Add(Name(body));
        }
    }

    private void ConfigMapMayGo(JsonObject body)
    {
        if (JobOf(body, "configmaps") is { } job)
        {
            Expect(int.TryParse(SeenPod.Label(body["metadata"]!, "attempt"), out int attempt) && attempt < job.Attempt,
                $"ConfigMap {Name(body)} was deleted in attempt {job.Attempt}");
        }
        else
        {
            Expect(SeenPod.OwnerOf(body["metadata"]!) is not null, $"ConfigMap {Name(body)} was deleted, which is not a job's");
        }
    }

    private void JobMayGo(SeenJob job, DateTimeOffset now)
    {
        Expect(job.IsFinished && job.Spec?.TtlSecondsAfterFinished is { } ttl
            && now >= job.Time("completionTime") + TimeSpan.FromSeconds(ttl), $"a job was deleted at {now:HH:mm:ss}, whose time was not over: {job}");
        _statuses.Count("jobs deleted after their time");
    }

    // The job itself, or the one that owns the object; null when it is gone.
    private SeenJob? JobOf(JsonObject body, string plural)
    {
        if (plural == "deepspeedjobs")
        {
            return new SeenJob(body);
        }

        return SeenPod.OwnerOf(body["metadata"]!) is { } owner && _store.Find("deepspeedjobs", (string)owner["name"]!) is { } job
            && (string?)job["metadata"]!["uid"] == (string?)owner["uid"] ? new SeenJob(job) : null;
    }

    internal static string Name(JsonObject body) => (string?)body["metadata"]!["name"] ?? "?";
}
