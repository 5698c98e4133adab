using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Resources;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What a spec must fulfil on a cluster, beyond the rules it shares with the launcher.</summary>
internal static class ClusterRules
{
    /// <summary>Finds every problem of a job.</summary>
    /// <param name="name">Name of the job.</param>
    /// <param name="spec">The spec.</param>
    public static IReadOnlyList<ConfigError> Check(string name, DeepSpeedJobSpec spec)
    {
        var errors = new ConfigErrors();
        JobValidation.CheckName(name, errors);
        if (string.IsNullOrWhiteSpace(spec.Image))
        {
            errors.Add("spec.image", "it is missing", "name the image of the worker");
        }

        JobValidation.Check(spec, errors);
        CheckAmounts("spec.resources.limits", spec.Resources?.Limits, spec, errors);
        CheckAmounts("spec.resources.requests", spec.Resources?.Requests, spec, errors);
        for (int i = 0; i < (spec.Env?.Count ?? 0); i++)
        {
            if (spec.Env![i].ValueFrom is { } source)
            {
                CheckType<V1EnvVarSource>($"spec.env[{i}].valueFrom", source.ToJsonString(), errors);
            }
        }

        if (spec.Checkpoint?.VolumeClaimTemplate?.Spec is { } claim)
        {
            CheckType<V1PersistentVolumeClaimSpec>("spec.checkpoint.volumeClaimTemplate.spec", claim.ToJsonString(), errors);
        }

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
            else if (resource == PodResources.Gpu && value != spec.Gpus())
            {
                errors.Add($"{path}.{resource}", $"{amount} is not gpusPerNode, which is {spec.Gpus()}",
                    "remove it and set gpusPerNode");
            }
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

    private static void CheckType<T>(string path, string json, ConfigErrors errors)
    {
        try
        {
            KubernetesJson.Deserialize<T>(json);
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException or ArgumentException)
        {
            errors.Add(path, "a value has the wrong type", "write it as in a pod; `kubectl explain pod.spec` shows how");
        }
    }
}
