using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator;

/// <summary>One event a status change is worth.</summary>
/// <param name="IsWarning">Whether it tells of trouble.</param>
/// <param name="Reason">Why, in one word.</param>
/// <param name="Message">What happened, in a sentence.</param>
internal sealed record JobEvent(bool IsWarning, string Reason, string Message);

/// <summary>Turns a status change into events, after it was written.</summary>
internal static class JobEvents
{
    /// <summary>The events between two statuses.</summary>
    public static IEnumerable<JobEvent> Between(DeepSpeedJobStatus before, DeepSpeedJobStatus after)
    {
        // A spec that is invalid in a new way is news, too.
        if (after.Condition(ConditionTypes.Failed) is { Status: JobConditions.True } failed
            && (!before.Is(ConditionTypes.Failed) || before.Condition(ConditionTypes.Failed)!.Message != failed.Message))
        {
            yield return new JobEvent(true, failed.Reason, failed.Message ?? "The job failed.");
            yield break;
        }

        if (Became(before, after, ConditionTypes.Complete) is { } complete)
        {
            yield return new JobEvent(false, "Completed", complete.Message ?? "The job is complete.");
            yield break;
        }

        if (after.Condition(ConditionTypes.Restarting) is { Status: JobConditions.True } restarting && after.Attempt > before.Attempt)
        {
            yield return new JobEvent(restarting.Reason is not Reasons.Disruption and not Reasons.Resize,
                restarting.Reason switch { Reasons.Resize => "Resizing", Reasons.Hang => Reasons.Hang, _ => "Restarting" },
                $"Attempt {after.Attempt} replaces attempt {before.Attempt}: {restarting.Message}");
        }
        else if (after.Attempt > before.Attempt)
        {
            yield return new JobEvent(false, after.Attempt == 1 ? "Starting" : "StartingAgain",
                $"Attempt {after.Attempt} starts {after.Nodes?.Desired} pods with {after.WorldSize} ranks.");
        }

        if (Became(before, after, ConditionTypes.Running) is not null)
        {
            yield return new JobEvent(false, "Running", $"All {after.Nodes?.Desired} nodes of attempt {after.Attempt} run.");
        }

        if (Became(before, after, ConditionTypes.Suspended) is { } suspended)
        {
            yield return new JobEvent(false, "Suspended", suspended.Message ?? "The job is suspended.");
        }

        if (Became(before, after, ConditionTypes.Stalled) is { } stalled)
        {
            yield return new JobEvent(true, stalled.Reason, stalled.Message ?? "The job cannot go on.");
        }

        foreach (JobCondition news in News(before, after))
        {
            yield return new JobEvent(true, news.Reason, news.Message ?? news.Reason);
        }
    }

    // Conditions whose status stays False may still have something new to say, such as why pods wait.
    private static IEnumerable<JobCondition> News(DeepSpeedJobStatus before, DeepSpeedJobStatus after)
    {
        foreach (JobCondition condition in after.Conditions ?? [])
        {
            bool tells = condition.Type switch
            {
                // That pods find no place is told by the scheduler, under the pods.
                ConditionTypes.Scheduled => condition.Reason is Reasons.ConfigNotFound or Reasons.NameConflict
                    or Reasons.QuotaExceeded or Reasons.Forbidden or Reasons.GangSchedulerMissing,
                ConditionTypes.Stalled => condition.Reason == Reasons.SpecChanged,
                _ => false,
            };
            if (tells && before.Condition(condition.Type)?.Reason != condition.Reason)
            {
                yield return condition;
            }
        }
    }

    private static JobCondition? Became(DeepSpeedJobStatus before, DeepSpeedJobStatus after, string type) =>
        after.Is(type) && !before.Is(type) ? after.Condition(type) : null;
}
