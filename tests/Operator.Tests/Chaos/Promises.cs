using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
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
    private readonly Dictionary<(string Job, int Attempt), string> _makes = [];

    /// <summary>Begins to judge.</summary>
    /// <param name="store">The cluster.</param>
    /// <param name="history">What really happened.</param>
    /// <param name="clockOf">Clock of a client.</param>
    /// <param name="areMany">Whether several operators act at a time, by mistake; each then knows less of what the others do.</param>
    public Promises(ObjectStore store, History history, Func<string, ProcessClock> clockOf, bool areMany)
    {
        (_store, _history, _clockOf, _areMany) = (store, history, clockOf, areMany);
        _statuses = new StatusPromises(history, Expect) { AreMany = areMany };
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
                PodIsAllowed(change.After!, now);
                break;
            case { Plural: "pods", Verb: "delete" }:
                PodMayGo(change.Before!);
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

    private void PodIsAllowed(JsonObject body, DateTimeOffset now)
    {
        if (SeenPod.Read(body) is not { } pod)
        {
            Expect(false, $"{Name(body)} has no owner, attempt or rank");
            return;
        }

        Expect(pod.Name == $"{pod.JobName}-{pod.Attempt}-{pod.Rank}", $"{pod.Name} has labels of attempt {pod.Attempt}, node {pod.Rank}");
        Expect(SeenPod.Label(body["metadata"]!, "job-uid") == pod.JobUid && SeenPod.Label(body["metadata"]!, "job-name") == pod.JobName,
            $"{pod.Name} has labels of another job");
        if (JobOf(body, "pods") is not { } job)
        {
            return; // of a job that was deleted this moment; the garbage collector takes it
        }

        bool mayBeLate = _areMany || (BeforeStep is null && _history.HasJustChanged(job.Uid));
        Expect(pod.Attempt == job.Attempt || (mayBeLate && pod.Attempt < job.Attempt), $"{pod.Name} was created in attempt {job.Attempt}");
        Expect(!job.IsFinished || mayBeLate, $"{pod.Name} was created for a finished job: {job}");
        Expect(pod.Rank < job.Desired || pod.Attempt < job.Attempt, $"{pod.Name} was created though {job.Desired} pods are wanted");
        Expect(!_history.Now.Pods.Values.Any(p => p.JobUid == pod.JobUid && p.Attempt == pod.Attempt && p.Rank == pod.Rank),
            $"{pod.Name} is a second pod of its node and attempt");
        Expect(job.Count("createdAttempt") < pod.Attempt || BeforeStep is null, $"{pod.Name} was created though all pods of its attempt had been there");
        MadeAlike(pod);
        if (pod.Attempt == job.Attempt)
        {
            // Nobody waits longer than the longest pause: the clock was set back then.
            TimeSpan longest = (job.Spec?.BackoffMax() ?? TimeSpan.Zero) + TimeSpan.FromMinutes(1);
            Expect(_areMany || !(job.Time("nextStartTime") > now) || job.Time("nextStartTime") - now > longest || BeforeStep is null, $"{pod.Name} was created at {now:HH:mm:ss}, before the pause ended at {job.Time("nextStartTime"):HH:mm:ss}");
            Exists(job, "services", job.Name);
            Exists(job, "configmaps", $"{job.Name}-{pod.Attempt}");
            OldPodsHaveEnded(job, pod);
        }
    }

    private void Exists(SeenJob job, string plural, string name) => Expect(
        _history.DeletedByHand.Contains($"{plural}/{name}")
        || SeenPod.OwnerOf(_store.Find(plural, name)?["metadata"] ?? new JsonObject()) is { } owner && (string?)owner["uid"] == job.Uid,
        $"a pod of attempt {job.Attempt} of {job.Name} was created before {plural}/{name}");

    private void OldPodsHaveEnded(SeenJob job, SeenPod pod)
    {
        if (_areMany || job.Spec?.Restart?.Strategy == "Replace")
        {
            return;
        }

        TimeSpan nodeLoss = TimeSpan.FromSeconds(job.Spec?.Restart?.NodeLossSeconds ?? 60);
        foreach (SeenPod old in _history.Now.Pods.Values.Where(p => p.JobUid == job.Uid && p.Attempt < job.Attempt && !p.HasEnded))
        {
            bool isOverdue = old.DeletionDeadline + nodeLoss < _store.Time!.GetUtcNow() + TimeSpan.FromSeconds(1);
            Expect(isOverdue || _history.MayBeLost(old, nodeLoss, isTold: BeforeStep is not null), $"{pod.Name} was created while {old.Name} had not ended: {old}");
        }
    }

    private void MadeAlike(SeenPod pod)
    {
        if (!_makes.TryGetValue((pod.JobUid, pod.Attempt), out string? make))
        {
            _makes[(pod.JobUid, pod.Attempt)] = make = pod.Make;
            _statuses.Count($"pods of image {pod.Image}");
        }

        Expect(make == pod.Make, $"{pod.Name} is made of ({pod.Make}), others of its attempt of ({make})");
    }

    private void PodMayGo(JsonObject body)
    {
        if (SeenPod.Read(body) is not { } pod)
        {
            Expect(false, $"{Name(body)} was deleted, which is not a job's");
            return;
        }

        if (JobOf(body, "pods") is { } job)
        {
            Expect(pod.Attempt < job.Attempt || job.IsSuspending || job.IsFinished, $"{pod.Name} was deleted in the middle of its attempt: {job}");
            Expect(!job.IsFinished || pod.Attempt < job.Attempt || job.Spec?.CleanPodPolicy != "None", $"{pod.Name} was deleted though cleanPodPolicy is None");
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

    private static string Name(JsonObject body) => (string?)body["metadata"]!["name"] ?? "?";
}
