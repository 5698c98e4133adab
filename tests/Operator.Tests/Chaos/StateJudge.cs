using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What must be so whenever an operator that is well has seen everything and has nothing to do.</summary>
/// <param name="store">The cluster.</param>
/// <param name="history">What really happened.</param>
/// <param name="expect">Notes a broken promise.</param>
/// <param name="areMany">Whether several operators act at a time; one that is behind may then leave things of earlier attempts.</param>
internal sealed class StateJudge(ObjectStore store, History history, Action<bool, string> expect, bool areMany)
{
    // Times are in whole seconds, and a pass may have to wait for a retry.
    private static readonly TimeSpan Slack = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(3);
    private readonly Dictionary<string, DateTimeOffset> _wellSince = [];
    private readonly Patience _patience = new(expect);
    private IReadOnlyList<JsonObject> _maps = [];

    /// <summary>Forgets what was seen: for a while nobody looked.</summary>
    public void Reset()
    {
        _wellSince.Clear();
        _patience.Reset();
    }

    /// <summary>Judges every job.</summary>
    /// <param name="now">The time.</param>
    /// <param name="actsSince">Since when one and the same operator has been able to act.</param>
    public void Judge(DateTimeOffset now, DateTimeOffset actsSince)
    {
        _maps = store.All("configmaps");
        _patience.Now = now;
        foreach (JsonObject json in store.All("deepspeedjobs"))
        {
            var job = new SeenJob(json);
            if (!string.IsNullOrEmpty(job.Spec?.ManagedBy))
            {
                expect(job.Status is null, $"the status of a job of another controller was written: {job}");
                continue;
            }

            SeenPod[] pods = [.. history.Now.Pods.Values.Where(p => p.JobUid == job.Uid)];
            string why = string.Join('\n', [$"at {now:HH:mm:ss}: {job}", $"spec {json["spec"]!.ToJsonString()}", .. pods.Select(p => p.ToString())]);
            expect((long?)job.Status?["observedGeneration"] == job.Generation, $"generation {job.Generation} was not looked at: {why}");
            Counts(job, pods, why);
            if (job.IsFinished)
            {
                Finished(job, pods, now, actsSince, why);
            }
            else if (job.Spec?.Suspend == true)
            {
                Suspended(job, pods, why);
            }
            else
            {
                GoesOn(job, pods, now, actsSince, why);
            }
        }
    }

    private void Counts(SeenJob job, SeenPod[] pods, string why)
    {
        if (job.Attempt == 0)
        {
            expect(pods.Length == 0, $"pods before the first attempt: {why}");
            return;
        }

        SeenPod[] current = [.. pods.Where(p => p.Attempt == job.Attempt)];
        expect(current.All(p => p.Rank < job.Desired), $"more pods than wanted: {why}");
        if (job.Spec?.Suspend == true && !job.IsFinished)
        {
            return; // of pods that end nobody wants to know how many are ready
        }

        JsonNode? nodes = job.Status!["nodes"];
        int succeeded = (int)nodes!["succeeded"]!;
        _patience.Soon(job, "failed pods are miscounted", (int)nodes["failed"]! == current.Count(p => p.Phase == "Failed"), why);
        _patience.Soon(job, "succeeded pods are miscounted", succeeded >= current.Count(p => p.Phase == "Succeeded"), why);
        _patience.Soon(job, "ready pods are miscounted", (int)nodes["ready"]! == current.Count(p => p.IsReady && p.Phase == "Running"), why);
        _patience.Soon(job, "pods are miscounted", (int?)job.Status["replicas"] == current.Length, why);
        expect(succeeded <= history.Succeeded(job.Uid, job.Attempt).Count, $"too many pods are said to have succeeded: {why}");
    }

    private void Finished(SeenJob job, SeenPod[] pods, DateTimeOffset now, DateTimeOffset actsSince, string why)
    {
        expect(job.Phase == (job.IsComplete ? "Complete" : "Failed"), $"the phase of a finished job: {why}");
        expect(job.Time("completionTime") is not null, $"no completion time: {why}");
        foreach (SeenPod pod in pods)
        {
            bool mayStay = job.Spec?.CleanPodPolicy switch
            {
                "None" => true,
                "All" => pod.DeletedAt is not null,
                _ => pod.HasEnded || pod.DeletedAt is not null,
            };
            expect(mayStay, $"{pod.Name} was not cleaned away: {why}");
        }

        if (job.Spec?.TtlSecondsAfterFinished is { } ttl)
        {
            expect(Later(job.Time("completionTime") + TimeSpan.FromSeconds(ttl), actsSince) + Slack > now, $"it was not deleted after its time: {why}");
        }

        if (job.Spec?.Scheduling?.PodDisruptionBudget == true && !areMany)
        {
            expect(!Owns("poddisruptionbudgets", job), $"a finished job has a disruption budget: {why}");
        }
    }

    private void Suspended(SeenJob job, SeenPod[] pods, string why)
    {
        expect(pods.All(p => p.HasEnded || p.DeletedAt is not null), $"pods of a suspended job go on: {why}");
        bool allEnded = pods.All(p => p.HasEnded);
        expect(!allEnded || SeenPod.Condition(job.Status, "Suspended") == "True", $"it is not called suspended: {why}");
        expect(job.IsSuspending && job.Phase == "Suspended" && SeenPod.Condition(job.Status, "Running") != "True", $"it is not called suspended: {why}");
        expect(areMany || job.Spec?.Scheduling?.PodDisruptionBudget != true || !Owns("poddisruptionbudgets", job), $"a suspended job has a disruption budget: {why}");
    }

    private void GoesOn(SeenJob job, SeenPod[] pods, DateTimeOffset now, DateTimeOffset actsSince, string why)
    {
        SeenPod[] current = [.. pods.Where(p => p.Attempt == job.Attempt)];
        SeenPod[] older = [.. pods.Where(p => p.Attempt < job.Attempt)];
        expect(job.Attempt > 0 && !job.IsSuspending, $"it does not begin: {why}");
        DateTimeOffset? failed = history.Facts(job.Uid, job.Attempt)
            .Where(f => !history.Succeeded(job.Uid, job.Attempt).Contains(f.Rank)).Select(f => (DateTimeOffset?)f.At).Min();
        bool mayBeLost = current.Any(p => !p.HasEnded && history.MayBeLost(p, job.Spec.NodeLoss(), isTold: true));
        if (failed is { } since && job.Count("createdAttempt") == job.Attempt)
        {
            expect(Later(since, actsSince) + Settle + Slack + Slack > now, $"it does not go on after a failure: {why}");
        }

        if (failed is not null || mayBeLost)
        {
            return;
        }

        expect(older.All(p => p.HasEnded || p.DeletedAt is not null), $"a pod of an earlier attempt goes on: {why}");
        int kept = older.Count(p => p.HasEnded && p.DeletedAt is null);
        expect(kept <= job.Spec.FailedPodsToKeep(), $"{kept} pods of earlier attempts were kept: {why}");
        Pods(job, current, older, now, actsSince, why);
        bool allReady = current.Count(p => p.IsReady && p.Phase == "Running") + history.Succeeded(job.Uid, job.Attempt).Count >= job.Desired;
        _patience.Soon(job, "it is not called running", job.Phase == "Running" || !allReady, why);
        _patience.Soon(job, "it is called running", allReady || job.Phase != "Running" || current.Any(p => p.HasEnded || p.DeletedAt is not null), why);
        expect(!(job.Phase == "Running" && job.IsRestarting), $"it runs, and is called restarting: {why}");
    }

    // All pods are there, unless something that is known keeps them from being made; and they are made of the newest spec.
    private void Pods(SeenJob job, SeenPod[] current, SeenPod[] older, DateTimeOffset now, DateTimeOffset actsSince, string why)
    {
        bool waits = job.Time("nextStartTime") is { } next && next + Slack > now && job.IsRestarting;
        bool isBlocked = job.Spec.WaitsForIts(older);
        bool isRefused = job.ScheduledReason is "NameConflict" or "QuotaExceeded" or "ForbiddenByAdmission" or "ConfigNotFound";
        if (waits || isBlocked || isRefused)
        {
            _wellSince.Remove(job.Uid);
            return;
        }

        if (!_wellSince.TryGetValue(job.Uid, out DateTimeOffset well))
        {
            _wellSince[job.Uid] = well = now;
        }

        int made = current.Select(p => p.Rank).Union(history.Succeeded(job.Uid, job.Attempt)).Count();
        expect(made == job.Desired || Later(well, actsSince) + Slack + Slack > now, $"{job.Desired - made} pods are missing: {why}");
        if (made != job.Desired)
        {
            return;
        }


        // What runs on with a spec that makes no sense cannot be given what that spec says.
        bool isValid = SeenPod.Condition(job.Status, "Stalled") != "True";
        _patience.Soon(job, "its Service is gone", !isValid || Owns("services", job), why);
        _patience.Soon(job, "all pods are there, and it does not say so", job.Count("createdAttempt") == job.Attempt, why);
        bool hasRun = job.Phase == "Running" || history.Succeeded(job.Uid, job.Attempt).Count > 0;
        expect(hasRun || !isValid || current.All(p => p.Image == job.Spec!.Image), $"pods of an old spec wait: {why}");
        expect(areMany || _maps.Where(m => (string?)SeenPod.OwnerOf(m["metadata"]!)?["uid"] == job.Uid)
            .All(m => SeenPod.Label(m["metadata"]!, "attempt") == $"{job.Attempt}" || history.LateConfigMaps.Contains((string)m["metadata"]!["name"]!)), $"a ConfigMap of an earlier attempt is left: {why}");
        if (!areMany && job.Spec?.Scheduling?.PodDisruptionBudget == true && !history.DeletedByHand.Contains($"poddisruptionbudgets/{job.Name}"))
        {
            expect((int?)store.Find("poddisruptionbudgets", job.Name)?["spec"]?["minAvailable"] == job.Desired, $"its disruption budget is wrong: {why}");
        }
    }

    private bool Owns(string plural, SeenJob job) =>
        store.Find(plural, job.Name) is { } found && (string?)SeenPod.OwnerOf(found["metadata"]!)?["uid"] == job.Uid;

    private static DateTimeOffset Later(DateTimeOffset? a, DateTimeOffset b) => a > b ? a.Value : b;
}

/// <summary>What keeps the next attempt from starting.</summary>
internal static class Blocking
{
    /// <summary>Whether pods of earlier attempts have to end first.</summary>
    public static bool WaitsForIts(this DeepSpeedJobSpec? spec, IEnumerable<SeenPod> older) =>
        spec?.Restart?.Strategy != "Replace" && older.Any(p => !p.HasEnded);
}
