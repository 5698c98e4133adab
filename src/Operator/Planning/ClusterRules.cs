using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Resources;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What a spec must fulfil on a cluster, beyond the rules it shares with the launcher.</summary>
internal static class ClusterRules
{
    /// <summary>Finds every problem of a job.</summary>
    /// <param name="name">Name of the job.</param>
    /// <param name="spec">The spec.</param>
    /// <param name="allowHostAccess">Whether jobs may reach into machines: host network, host paths, privileges.</param>
    public static IReadOnlyList<ConfigError> Check(string name, DeepSpeedJobSpec spec, bool allowHostAccess = false)
    {
        var errors = new ConfigErrors();
        JobValidation.CheckName(name, errors);
        if (string.IsNullOrWhiteSpace(spec.Image) && PodTemplate.Text(PodTemplate.Trainer(spec.Template)?["image"]) is null)
        {
            errors.Add("spec.image", "it is missing", "name the image of the worker");
        }

        JobValidation.Check(spec, errors);
        CheckAmounts("spec.resources.limits", spec.Resources?.Limits, spec, errors);
        CheckAmounts("spec.resources.requests", spec.Resources?.Requests, spec, errors);
        for (int i = 0; i < (spec.Env?.Count ?? 0); i++)
        {
            if (RendezvousSecret.Sets(spec, spec.Env![i].Name))
            {
                errors.Add($"spec.env[{i}].name", $"{spec.Env[i].Name} is set by the job itself", "remove it");
            }

            if (spec.Env[i].ValueFrom is { } source)
            {
                ModelFields.Check<V1EnvVarSource>(source, $"spec.env[{i}].valueFrom", errors);
            }
        }

        if (spec.Checkpoint?.VolumeClaimTemplate?.Spec is { } claim)
        {
            ModelFields.Check<V1PersistentVolumeClaimSpec>(claim, "spec.checkpoint.volumeClaimTemplate.spec", errors);
        }

        foreach (string label in (spec.Checkpoint?.VolumeClaimTemplate?.Metadata?.Labels ?? new Dictionary<string, string>()).Keys.Where(JobMetadata.IsOwn))
        {
            errors.Add("spec.checkpoint.volumeClaimTemplate.metadata.labels", $"{label} belongs to the job", "remove it");
        }

        if (spec.Shm?.SizeLimit is { } size && Parse(size) is null)
        {
            errors.Add("spec.shm.sizeLimit", $"\"{size}\" is not an amount", "write for example 32Gi");
        }

        if (spec.Gang() == GangScheduler.Kueue && string.IsNullOrEmpty(spec.Scheduling!.Queue))
        {
            errors.Add("spec.scheduling.queue", "it is missing, and Kueue needs it",
                "name a LocalQueue of the job's namespace, here or by the label kueue.x-k8s.io/queue-name of the job");
        }

        TemplateRules.Check(spec, allowHostAccess, errors);
        CheckWorldInfo(name, spec, errors);
        return errors.All;
    }

    private static void CheckAmounts(
        string path, IReadOnlyDictionary<string, Quantity>? amounts, DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        foreach ((string resource, Quantity amount) in amounts ?? new Dictionary<string, Quantity>())
        {
            if (Parse(amount) is not { } value)
            {
                errors.Add($"{path}.{resource}", $"\"{amount}\" is not an amount", "write for example \"500m\", 8 or 64Gi");
            }
            else if (resource == spec.GpuResourceName() && value != spec.PodGpus())
            {
                errors.Add($"{path}.{resource}", $"{amount} is not gpusPerNode, which is {spec.Gpus()}",
                    "remove it and set gpusPerNode");
            }
        }
    }

    // Too long for a variable: a program that refers to it would get the bare text $(DSJ_WORLD_INFO).
    private static void CheckWorldInfo(string name, DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        if (spec.Mode() == LaunchMode.DeepSpeed && spec.Nodes() is > 0 and <= 10_000
            && (spec.Command ?? []).Concat(spec.Args ?? []).Any(t => t?.Contains($"$({LauncherVariables.WorldInfo})", StringComparison.Ordinal) == true)
            && LauncherVariables.EncodeWorldInfo([.. Enumerable.Range(0, spec.Pods()).Select(i => WorkerPods.HostName(name, 1_000_000, i))],
                spec.PodSlots()).Length > LauncherVariables.LongestWorldInfo)
        {
            errors.Add("spec.args", $"the hosts of {spec.Nodes()} nodes do not fit into {LauncherVariables.WorldInfo}",
                "start `deepspeed --hostfile /job/hostfile --no_ssh` instead, or use fewer nodes");
        }
    }

    private static decimal? Parse(Quantity amount)
    {
        try
        {
            return new ResourceQuantity(amount.Text).ToDecimal();
        }
        catch (Exception e) when (e is FormatException or ArgumentException or OverflowException)
        {
            return null;
        }
    }
}
