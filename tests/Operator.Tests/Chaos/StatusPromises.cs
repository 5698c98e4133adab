using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What the operator promises about every status it writes: above all that counters and attempts are exact.</summary>
/// <param name="history">What really happened.</param>
/// <param name="expect">Notes a broken promise.</param>
internal sealed class StatusPromises(History history, Action<bool, string> expect)
{
    private static readonly string[] Counters =
        ["attempt", "restarts", "disruptions", "resizes", "resumes", "createdAttempt", "readyAttempt"];

    private readonly TimeSpan _shortLived = TimeSpan.FromSeconds(60);
    private readonly TimeSpan _recorded = TimeSpan.FromSeconds(3);

    /// <summary>Whether several operators act at a time.</summary>
    public bool AreMany { get; init; }

    /// <summary>What was there before the step that is being made; null when the operator may not have known it.</summary>
    public Moment? BeforeStep { get; set; }

    /// <summary>How often things happened.</summary>
    public SortedDictionary<string, int> Seen { get; } = [];

    /// <summary>Counts something that happened.</summary>
    public void Count(string what)
    {
        lock (Seen)
        {
            Seen[what] = Seen.GetValueOrDefault(what) + 1;
        }
    }

    /// <summary>Judges one write.</summary>
    public void Judge(SeenJob before, SeenJob after)
    {
        foreach (string counter in Counters)
        {
            expect(after.Count(counter) >= before.Count(counter), $"{counter} went down: {after}");
        }

        expect(after.Attempt == 0 || after.Attempt == after.Sum, $"attempt {after.Attempt}, but the counters say {after.Sum}: {after}");
        expect(after.Attempt <= before.Attempt + 1, $"an attempt was skipped after {before.Attempt}: {after}");
        expect(!(after.IsComplete && after.IsFailed), $"complete and failed: {after}");
        expect(!before.IsComplete || after.IsComplete, $"it was complete: {after}");
        expect(!before.IsFailed || after.IsFailed || before.FailedReason == "InvalidSpec", $"it had failed: {after}");
        expect(after.Attempt == before.Attempt || !before.IsFinished || before.FailedReason == "InvalidSpec", $"a finished job began anew: {after}");
        expect(after.Count("createdAttempt") <= after.Attempt && after.Count("readyAttempt") <= after.Attempt, $"it knows an attempt to come: {after}");
        expect(after.Count("restarts") <= after.Spec.LimitOfRestarts(), $"too many restarts: {after}");
        expect(!(after.Count("disruptions") > after.Spec?.Restart?.MaxDisruptions), $"too many disruptions: {after}");
        if (after.Attempt > before.Attempt)
        {
            NewAttempt(before, after);
        }

        if (after.IsFinished && !before.IsFinished)
        {
            Ended(before, after);
        }

        if (after.IsSuspending && !before.IsSuspending)
        {
            Count("suspensions");
        }
    }

    private void NewAttempt(SeenJob before, SeenJob after)
    {
        // In good weather the success of a pod is on record soon, and then nobody misses the pod.
        Fact[] facts = [.. history.Facts(before.Uid, before.Attempt, mended: AreMany).Where(f => BeforeStep is null || !(f.AfterSuccess > _recorded))];
        if (after.Count("restarts") > before.Count("restarts"))
        {
            Count("restarts");
            expect(facts.Any(f => f.Fate != Fate.Disruption), $"a restart was counted, but no program failed: {after}");
            Pause(before, after, isCounted: true);
            BlamesTheFirst(before, after);
        }
        else if (after.Count("disruptions") > before.Count("disruptions"))
        {
            Count("disruptions");
            bool byRule = (string?)after.LastFailure?["rule"] is not null;
            expect(byRule || MayBeLost(before) || facts.Any(f => f.Fate == Fate.Disruption), $"nothing disturbed it: {after}");
            Pause(before, after, isCounted: false);
            BlamesTheFirst(before, after);
        }
        else if (after.Count("resizes") > before.Count("resizes"))
        {
            Count("resizes");
            expect(after.Spec?.Elastic is not null && after.Desired != before.Desired, $"a size changed that cannot, or did not: {after}");
        }
        else if (after.Attempt > 1)
        {
            Count("resumes");
            bool wasEdited = (string?)before.Status?["specHash"] != (string?)after.Status?["specHash"];
            expect(before.IsSuspending || before.IsFailed || wasEdited, $"it began anew without a reason: {before}\n{after}");
        }
    }

    // Each failure in a row doubles the pause, up to a limit; the first disruption is not waited for.
    private void Pause(SeenJob before, SeenJob after, bool isCounted)
    {
        if (after.Spec is not { } spec || after.Time("lastStartTime") is not { } began)
        {
            expect(false, $"an attempt without a beginning: {after}");
            return;
        }

        bool wasHealthy = Api.Running(before) is { } running && began - running >= spec.ResetAfter();
        int row = wasHealthy ? 0 : before.Count("consecutiveFailures");
        bool inARow = isCounted || began - (before.Time("lastStartTime") ?? began) < _shortLived;
        int doublings = isCounted ? row : row - 1;
        double wanted = !inARow || doublings < 0 ? 0
            : Math.Min(spec.Backoff().TotalSeconds * Math.Pow(2, doublings), spec.BackoffMax().TotalSeconds);
        double pause = ((after.Time("nextStartTime") ?? began) - began).TotalSeconds;
        expect(pause == wanted, $"the pause is {pause} s instead of {wanted} s: {before}\n{after}");
        expect(after.Count("consecutiveFailures") == (inARow ? row + 1 : row), $"failures in a row: {before}\n{after}");
        if (wanted > 0)
        {
            Count("pauses");
        }
    }

    private void BlamesTheFirst(SeenJob before, SeenJob after)
    {
        int blamed = (int?)after.LastFailure?["node"] ?? -1;
        expect((int?)after.LastFailure?["attempt"] == before.Attempt, $"the failure of another attempt: {after}");
        expect(history.Facts(before.Uid, before.Attempt, mended: AreMany).Any(f => f.Rank == blamed)
            || history.Now.Pods.Values.Any(p => p.JobUid == before.Uid && p.Attempt == before.Attempt && p.Rank == blamed && history.MayBeLost(p, before.Spec.NodeLoss(), isTold: BeforeStep is not null)),
            $"node {blamed} is blamed, which did not fail: {after}");
        if (BeforeStep is not { } known || AreMany || after.Time("lastStartTime") is not { } now)
        {
            return;
        }

        // The cause is looked for during some seconds, because one dying rank makes all others fail. Times are whole seconds.
        DateTimeOffset? seen = history.Facts(before.Uid, before.Attempt).Min(f => (DateTimeOffset?)f.At);
        bool allEnded = new[] { known, history.Now }.Any(m => m.Pods.Values.Where(p => p.JobUid == before.Uid && p.Attempt == before.Attempt).All(p => p.HasEnded));
        expect(seen is null || allEnded || MayBeLost(before) || now - seen >= TimeSpan.FromSeconds(2), $"the cause of a failure at {seen:HH:mm:ss} was not looked for: {after}");

        // The pass may have been made right before or right after what happened in this step.
        int?[] first = [Cause.First(before, known, now), Cause.First(before, history.Now, now)];
        expect(first.Contains(blamed), $"node {blamed} is blamed, but {string.Join(" or ", first)} failed first: {after}\n{string.Join('\n', history.Now.Pods.Values.Where(p => p.JobUid == before.Uid && p.Attempt == before.Attempt))}");
        Count("causes judged");
    }

    private bool MayBeLost(SeenJob job) => history.Now.Pods.Values.Any(
        p => p.JobUid == job.Uid && p.Attempt == job.Attempt && history.MayBeLost(p, job.Spec.NodeLoss(), isTold: BeforeStep is not null));

    private void Ended(SeenJob before, SeenJob after)
    {
        Count("ended");
        if (after.IsComplete)
        {
            IReadOnlySet<int> succeeded = history.Succeeded(after.Uid, after.Attempt);
            bool isEnough = after.Spec?.SuccessPolicy == "Rank0" && succeeded.Contains(0);
            expect(isEnough || Enumerable.Range(0, after.Desired).All(succeeded.Contains), $"complete, but only {string.Join(',', succeeded)} succeeded: {after}");
            Count("ended Complete");
            return;
        }

        Count($"ended {after.FailedReason}");
        bool isRight = after.FailedReason switch
        {
            "MaxRestartsExceeded" => after.Count("restarts") == after.Spec.LimitOfRestarts(),
            "MaxDisruptionsExceeded" => after.Count("disruptions") == after.Spec?.Restart?.MaxDisruptions,
            "WorkerRefused" => history.Facts(after.Uid, after.Attempt).Any(f => f.Fate == Fate.Refusal),
            "RuleFailJob" => after.Spec?.Restart?.Rules is { Count: > 0 },
            "StartupDeadlineExceeded" => after.Spec?.StartupDeadlineSeconds is not null && after.Count("readyAttempt") < after.Attempt,
            "InvalidSpec" => true,
            _ => false,
        };
        expect(isRight, $"it failed for the wrong reason: {before}\n{after}");
    }

    private static class Api
    {
        // Since when the job was running; null when it was not.
        public static DateTimeOffset? Running(SeenJob job) => SeenPod.ConditionOf(job.Status, "Running") is { } running
            && (string?)running["status"] == "True" ? SeenPod.Time(running["lastTransitionTime"]) : null;
    }
}

/// <summary>Limits of a spec that may be unreadable.</summary>
internal static class SpecLimits
{
    /// <summary>Counted restarts that are allowed.</summary>
    public static int LimitOfRestarts(this DeepSpeedJobSpec? spec) => spec?.Restart?.MaxRestarts ?? 3;
}
