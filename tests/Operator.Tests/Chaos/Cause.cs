using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>Which pod ended first, and why: the rules of first-failure attribution once more, in their plainest form.</summary>
internal static class Cause
{
    /// <summary>What the end of a failed pod means.</summary>
    public static Fate FateOf(SeenPod pod) => pod switch
    {
        { WasEvicted: true } => Fate.Disruption,
        { DeletedAt: { } deleted } when pod.FinishedAt is null || pod.FinishedAt >= deleted => Fate.Disruption,
        { ExitCode: 143 } => Fate.Disruption,
        { ExitCode: 64 or 65 or 78 } => Fate.Refusal,
        _ => Fate.Counted,
    };

    /// <summary>The rank whose end explains all others, at a moment; null when nothing ended.</summary>
    public static int? First(SeenJob job, Moment moment, DateTimeOffset now)
    {
        var seen = new List<(DateTimeOffset Time, Fate Fate, bool FollowsOthers, int Rank)>();
        ILookup<int, SeenPod> pods = moment.Pods.Values.Where(p => p.JobUid == job.Uid && p.Attempt == job.Attempt).ToLookup(p => p.Rank);
        HashSet<int> succeeded = [.. NodeRanges.Parse((string?)job.Status?["succeededNodes"]), .. pods.SelectMany(p => p).Where(p => p.Phase == "Succeeded").Select(p => p.Rank)];
        for (int rank = 0; rank < job.Desired; rank++)
        {
            if (succeeded.Contains(rank))
            {
                continue;
            }

            if (pods[rank].FirstOrDefault() is not { } pod)
            {
                if (job.Count("createdAttempt") == job.Attempt)
                {
                    seen.Add((DateTimeOffset.MinValue, Fate.Disruption, false, rank)); // vanished, nobody knows when
                }
            }
            else if (!pod.HasEnded && pod.Machine is { } machine && moment.Outages.TryGetValue(machine, out Outage? outage)
                && outage.Until is null && now - outage.Since >= job.Spec.NodeLoss())
            {
                // That somebody deletes what nobody can reach any more follows from that.
                seen.Add((outage.Since, Fate.Disruption, false, rank));
            }
            else if (pod.Phase == "Failed" || (pod.DeletedAt is not null && pod.Phase != "Succeeded"))
            {
                Fate fate = FateOf(pod);
                DateTimeOffset time = fate == Fate.Disruption && pod.DeletedAt is { } deleted && !(pod.FinishedAt < deleted)
                    ? deleted : pod.FinishedAt ?? DateTimeOffset.MinValue;

                // A rank that lost its peer ends up to three seconds after the one that is to blame.
                bool lostPeer = pod.ExitCode == 69;
                bool follows = lostPeer || (pod.ExitCode == 143 && !pod.WasEvicted && (pod.DeletedAt is null || pod.FinishedAt < pod.DeletedAt));
                seen.Add((time + TimeSpan.FromSeconds(lostPeer ? 3 : 0), fate, follows, rank));
            }
        }

        return seen.Count == 0 ? null : seen.Min().Rank;
    }
}
