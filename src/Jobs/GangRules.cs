using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>Which gang scheduler a job uses.</summary>
public enum GangScheduler
{
    /// <summary>None: pods are placed one by one.</summary>
    None,

    /// <summary>Volcano, by a PodGroup for each attempt.</summary>
    Volcano,

    /// <summary>The coscheduling plugin of scheduler-plugins, by a PodGroup for each attempt.</summary>
    Coscheduling,

    /// <summary>Kueue, by labels of the pods.</summary>
    Kueue,
}

/// <summary>What gang schedulers need of a spec, and what has no meaning with them.</summary>
internal static partial class GangRules
{
    /// <summary>In CEL: whether an edit may touch what belongs to the queue, because the job is suspended before or after it.</summary>
    public const string MayChange = "(has(self.suspend) && self.suspend) || (has(oldSelf.suspend) && oldSelf.suspend)";

    /// <summary>Adds one problem per broken rule.</summary>
    /// <param name="spec">The spec.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void Check(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        if (spec.Scheduling is not { } scheduling)
        {
            return;
        }

        GangScheduler gang = spec.Gang();

        // Left out, an administrator's default may give a field its meaning; a wrong word is told elsewhere.
        bool isKnown = Enum.TryParse<GangScheduler>(scheduling.Gang, out _);
        Refuse("queue", scheduling.Queue, gang is GangScheduler.None or GangScheduler.Coscheduling, gang == GangScheduler.None
            ? "set gang to Volcano or Kueue, or remove it" : "Coscheduling has no queues; remove it");
        Refuse("minAvailable", scheduling.MinAvailable, gang is GangScheduler.None or GangScheduler.Kueue, gang == GangScheduler.None
            ? "set gang to Volcano or Coscheduling, or remove it" : "Kueue starts all pods or none; remove it");
        Refuse("scheduleTimeoutSeconds", scheduling.ScheduleTimeoutSeconds, gang != GangScheduler.Coscheduling,
            "only Coscheduling has it; remove it, and use startupDeadlineSeconds to give places back");
        if (!string.IsNullOrEmpty(scheduling.Queue) && !QueueName().IsMatch(scheduling.Queue))
        {
            errors.Add("spec.scheduling.queue", $"\"{scheduling.Queue}\" is not the name of a queue", "use lower-case letters, digits, '-' and '.'");
        }

        int most = spec.Elastic?.MinNodes ?? spec.Pods();
        if (gang is GangScheduler.Volcano or GangScheduler.Coscheduling && scheduling.MinAvailable > most)
        {
            errors.Add("spec.scheduling.minAvailable", spec.Elastic is null
                ? $"{scheduling.MinAvailable} is more than the job's {most} pods" : $"{scheduling.MinAvailable} is more than elastic.minNodes, which is {most}",
                $"use at most {most}, or remove it");
        }

        if (gang == GangScheduler.Kueue && spec.Restart?.Strategy == "Replace")
        {
            errors.Add("spec.restart.strategy", "Kueue counts the pods of a job, so those of two attempts may not run together", "use Blocking");
        }

        void Refuse(string field, object? value, bool isMeaningless, string fix)
        {
            if (value is not (null or "") && isMeaningless && isKnown)
            {
                errors.Add($"spec.scheduling.{field}", $"it has no meaning with scheduling.gang {gang}", fix);
            }
        }
    }

    [GeneratedRegex("^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    private static partial Regex QueueName();
}
