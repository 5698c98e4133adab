using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Another number of nodes, and why.</summary>
/// <param name="Nodes">The number.</param>
/// <param name="IsGrowth">Whether it is tried because it was too much before.</param>
/// <param name="Reason">Why, in a sentence.</param>
internal sealed record Resize(int Nodes, bool IsGrowth, string Reason);

/// <summary>With how many nodes an elastic job runs. Only numbers that its config fits are chosen.</summary>
internal static class JobSize
{
    private const int MostDoublings = 6;

    /// <summary>The spec with the number of nodes of the current attempt.</summary>
    public static DeepSpeedJobSpec At(this DeepSpeedJobSpec spec, DeepSpeedJobStatus status) =>
        spec.Elastic is not null && status.Nodes is { } nodes ? spec with { NumNodes = nodes.Desired } : spec;

    /// <summary>The number of nodes of the next attempt.</summary>
    /// <param name="spec">The spec.</param>
    /// <param name="counts">Numbers of nodes that the config fits.</param>
    /// <param name="most">Largest number to use.</param>
    public static int Of(DeepSpeedJobSpec spec, IReadOnlyCollection<int> counts, int most)
    {
        if (spec.Elastic is null || counts.Count == 0)
        {
            return spec.Nodes();
        }

        int[] fitting = [.. counts.Where(n => n <= most)];
        return fitting.Length > 0 ? fitting.Max() : counts.Min();
    }

    /// <summary>Whether a job that goes on should have another number of nodes now; null when not.</summary>
    /// <param name="job">What was found; no node of it has failed.</param>
    public static Resize? Next(JobSnapshot job)
    {
        if (job.Spec?.Elastic is not { } elastic || job.Status.Elastic is not { } state || job.Problems.Count > 0)
        {
            return null;
        }

        int[] counts = [.. NodeRanges.Parse(state.NodeCounts).Where(n => n >= elastic.MinNodes && n <= elastic.MaxNodes)];
        if (counts.Length == 0)
        {
            return null;
        }

        int wanted = Of(job.Spec, counts, job.Spec.Nodes());
        if (state.Requested != job.Spec.Nodes() && wanted != job.Desired)
        {
            return new Resize(wanted, false, $"spec.numNodes is {job.Spec.Nodes()} now");
        }

        return Smaller(job, elastic, counts) ?? Larger(job, elastic, state, wanted);
    }

    /// <summary>Time until the next look; null when an event will say.</summary>
    public static TimeSpan? NextLook(JobSnapshot job)
    {
        if (job.Spec?.Elastic is not { } elastic || job.Status.Elastic is not { } state)
        {
            return null;
        }

        TimeSpan? shrink = job.CurrentPods.Any(p => p.UnschedulableMessage is not null) ? ShrinkTime(job, elastic) - job.Now : null;
        TimeSpan? grow = job.Desired < job.Spec.Nodes() && GrowTime(job, elastic, state) is { } time ? time - job.Now : null;
        return new[] { shrink, grow }.Where(t => t > TimeSpan.Zero).Min();
    }

    private static Resize? Smaller(JobSnapshot job, ElasticSpec elastic, int[] counts)
    {
        PodSnapshot[] homeless = [.. job.CurrentPods.Where(p => p.UnschedulableMessage is not null && p.ClusterNode is null)];
        if (homeless.Length == 0 || job.Now < ShrinkTime(job, elastic))
        {
            return null;
        }

        int placed = job.CurrentPods.Count(p => p.ClusterNode is not null);
        int[] fitting = [.. counts.Where(n => n <= placed)];
        return fitting.Length == 0 ? null : new Resize(fitting.Max(), false,
            $"{homeless.Length} of {job.Desired} pods found no place: {homeless[0].UnschedulableMessage}");
    }

    // After a checkpoint, so that little is lost; a program that reports none saves one when it is ended.
    private static Resize? Larger(JobSnapshot job, ElasticSpec elastic, ElasticStatus state, int wanted)
    {
        if (wanted <= job.Desired || GrowTime(job, elastic, state) is not { } time || job.Now < time)
        {
            return null;
        }

        return job.Status.Progress?.LastCheckpointTime is { } saved && saved < time ? null
            : new Resize(wanted, true, "the cluster may have room again");
    }

    private static DateTimeOffset ShrinkTime(JobSnapshot job, ElasticSpec elastic) =>
        (GangPlan.PlaceableSince(job.Status) ?? job.Now) + TimeSpan.FromSeconds(elastic.ScaleDownAfterSeconds ?? 600);

    private static DateTimeOffset? GrowTime(JobSnapshot job, ElasticSpec elastic, ElasticStatus state) =>
        job.Status.Condition(ConditionTypes.Running) is { Status: JobConditions.True, LastTransitionTime: { } since }
            ? since + TimeSpan.FromSeconds(elastic.ScaleUpCheckSeconds ?? 1800) * Math.Pow(2, Math.Min(state.FailedGrowths, MostDoublings))
            : null;
}
