using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What the operator promises about every pod that it creates or deletes.</summary>
/// <param name="store">The cluster.</param>
/// <param name="history">What really happened.</param>
/// <param name="statuses">What is promised about statuses.</param>
/// <param name="expect">Notes a broken promise.</param>
/// <param name="jobOf">The job that owns an object of a kind; null when it is gone.</param>
internal sealed class PodPromises(
    ObjectStore store, History history, StatusPromises statuses, Action<bool, string> expect, Func<JsonObject, string, SeenJob?> jobOf)
{
    private readonly Dictionary<(string Job, int Attempt), string> _makes = [];

    /// <summary>Judges the creation of a pod.</summary>
    /// <param name="body">The pod.</param>
    /// <param name="now">The latest time that its creator can have seen.</param>
    public void IsAllowed(JsonObject body, DateTimeOffset now)
    {
        if (SeenPod.Read(body) is not { } pod)
        {
            expect(false, $"{Promises.Name(body)} has no owner, attempt or rank");
            return;
        }

        expect(pod.Name == $"{pod.JobName}-{pod.Attempt}-{pod.Rank}", $"{pod.Name} has labels of attempt {pod.Attempt}, node {pod.Rank}");
        expect(SeenPod.Label(body["metadata"]!, "job-uid") == pod.JobUid && SeenPod.Label(body["metadata"]!, "job-name") == pod.JobName,
            $"{pod.Name} has labels of another job");
        if (jobOf(body, "pods") is not { } job)
        {
            return; // of a job that was deleted this moment; the garbage collector takes it
        }

        bool mayBeLate = statuses.AreMany || (statuses.BeforeStep is null && history.HasJustChanged(job.Uid));
        expect(pod.Attempt == job.Attempt || (mayBeLate && pod.Attempt < job.Attempt), $"{pod.Name} was created in attempt {job.Attempt}");
        expect(!job.IsFinished || mayBeLate, $"{pod.Name} was created for a finished job: {job}");
        expect(pod.Rank < job.Desired || pod.Attempt < job.Attempt, $"{pod.Name} was created though {job.Desired} pods are wanted");
        expect(!history.Now.Pods.Values.Any(p => p.JobUid == pod.JobUid && p.Attempt == pod.Attempt && p.Rank == pod.Rank),
            $"{pod.Name} is a second pod of its node and attempt");

        // Of two that act, one may have seen a pod vanish before the other, in whose eyes the attempt is complete, wrote that.
        expect(job.Count("createdAttempt") < pod.Attempt || statuses.BeforeStep is null || statuses.AreMany, $"{pod.Name} was created though all pods of its attempt had been there");
        MadeAlike(pod);
        if (pod.Attempt == job.Attempt)
        {
            // Nobody waits longer than the longest pause: the clock was set back then.
            TimeSpan longest = (job.Spec?.BackoffMax() ?? TimeSpan.Zero) + TimeSpan.FromMinutes(1);
            expect(statuses.AreMany || !(job.Time("nextStartTime") > now) || job.Time("nextStartTime") - now > longest || statuses.BeforeStep is null, $"{pod.Name} was created at {now:HH:mm:ss}, before the pause ended at {job.Time("nextStartTime"):HH:mm:ss}");
            Exists(job, "services", job.Name);
            Exists(job, "configmaps", $"{job.Name}-{pod.Attempt}");
            OldPodsHaveEnded(job, pod);
        }
    }

    private void Exists(SeenJob job, string plural, string name) => expect(
        history.DeletedByHand.Contains($"{plural}/{name}")
        || SeenPod.OwnerOf(store.Find(plural, name)?["metadata"] ?? new JsonObject()) is { } owner && (string?)owner["uid"] == job.Uid,
        $"a pod of attempt {job.Attempt} of {job.Name} was created before {plural}/{name}");

    private void OldPodsHaveEnded(SeenJob job, SeenPod pod)
    {
        if (statuses.AreMany || job.Spec?.Restart?.Strategy == "Replace")
        {
            return;
        }

        TimeSpan nodeLoss = NodeLoss(job);
        foreach (SeenPod old in history.Now.Pods.Values.Where(p => p.JobUid == job.Uid && p.Attempt < job.Attempt && !p.HasEnded))
        {
            expect(IsOverdue(old, nodeLoss) || history.MayBeLost(old, nodeLoss, isTold: statuses.BeforeStep is not null), $"{pod.Name} was created while {old.Name} had not ended: {old}");
        }
    }

    private static TimeSpan NodeLoss(SeenJob job) => TimeSpan.FromSeconds(job.Spec?.Restart?.NodeLossSeconds ?? 60);

    private bool IsOverdue(SeenPod pod, TimeSpan nodeLoss) => pod.DeletionDeadline + nodeLoss < store.Time!.GetUtcNow() + TimeSpan.FromSeconds(1);

    private void MadeAlike(SeenPod pod)
    {
        if (!_makes.TryGetValue((pod.JobUid, pod.Attempt), out string? make))
        {
            _makes[(pod.JobUid, pod.Attempt)] = make = pod.Make;
            statuses.Count($"pods of image {pod.Image}");
        }

        expect(make == pod.Make, $"{pod.Name} is made of ({pod.Make}), others of its attempt of ({make})");
    }

    /// <summary>Judges the deletion of a pod.</summary>
    /// <param name="body">The pod.</param>
    /// <param name="isForced">Whether it is gone at once, whatever it still does.</param>
    public void MayGo(JsonObject body, bool isForced)
    {
        if (SeenPod.Read(body) is not { } pod)
        {
            expect(false, $"{Promises.Name(body)} was deleted, which is not a job's");
            return;
        }

        if (jobOf(body, "pods") is { } job)
        {
            expect(pod.Attempt < job.Attempt || job.IsSuspending || job.IsFinished, $"{pod.Name} was deleted in the middle of its attempt: {job}");
            expect(!isForced || pod.Phase != "Running" || IsOverdue(pod, NodeLoss(job)) || history.MayBeLost(pod, NodeLoss(job), isTold: statuses.BeforeStep is not null),
                $"{pod.Name} was forced away while it may still save: {pod}");
            expect(!job.IsFinished || pod.Attempt < job.Attempt || job.Spec?.CleanPodPolicy != "None", $"{pod.Name} was deleted though cleanPodPolicy is None");
        }
    }
}
