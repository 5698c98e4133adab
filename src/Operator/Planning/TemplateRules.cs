using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Resources.Gang;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What a template may not say: what belongs to the job, and what reaches out of the pod.</summary>
internal static class TemplateRules
{
    private static readonly Dictionary<string, string> OwnedMetadata = new()
    {
        ["name"] = "pods are named by job, attempt and node",
        ["generateName"] = "pods are named by job, attempt and node",
        ["namespace"] = "pods are made in the job's namespace",
        ["ownerReferences"] = "pods belong to the job",
        ["finalizers"] = "pods must be able to go",
    };

    private static readonly Dictionary<string, string> OwnedSpec = new()
    {
        ["restartPolicy"] = "use restart.policy",
        ["hostname"] = "ranks find each other by host names of the job",
        ["subdomain"] = "ranks find each other by host names of the job",
        ["hostNetwork"] = "use network.hostNetwork",
        ["activeDeadlineSeconds"] = "use spec.activeDeadlineSeconds",
        ["terminationGracePeriodSeconds"] = "use checkpoint.gracePeriodSeconds",
        ["schedulerName"] = "use scheduling.schedulerName",
        ["ephemeralContainers"] = "they are added to running pods only",
    };

    /// <summary>Adds one problem per broken rule.</summary>
    /// <param name="spec">The spec.</param>
    /// <param name="allowHostAccess">Whether the administrator lets jobs reach into machines.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void Check(DeepSpeedJobSpec spec, bool allowHostAccess, ConfigErrors errors)
    {
        if (spec.Network?.HostNetwork == true && !allowHostAccess)
        {
            HostAccess.Refuse("spec.network.hostNetwork", errors);
        }

        if (spec.Template is not { } template)
        {
            return;
        }

        V1PodTemplateSpec? typed = ModelFields.Check<V1PodTemplateSpec>(template, "spec.template", errors);
        Refuse(template["metadata"] as JsonObject, "spec.template.metadata", OwnedMetadata, errors);
        var pod = template["spec"] as JsonObject;
        Refuse(pod, "spec.template.spec", OwnedSpec, errors);
        foreach (string part in new[] { "labels", "annotations" })
        {
            foreach ((string name, _) in (template["metadata"] as JsonObject)?[part] as JsonObject ?? [])
            {
                if (name.StartsWith(JobLabels.Prefix, StringComparison.Ordinal))
                {
                    errors.Add($"spec.template.metadata.{part}", $"{name} belongs to the job", "remove it");
                }
                else if (KueueGroup.Owned.Contains(name) || PodGroups.Owned.Contains(name))
                {
                    errors.Add($"spec.template.metadata.{part}", $"{name} belongs to the job", "use scheduling.gang and scheduling.queue");
                }
            }
        }

        CheckTrainer(spec, PodTemplate.Trainer(template), errors);
        if (!allowHostAccess && typed is not null)
        {
            HostAccess.Check(typed, errors);
        }
    }

    private static void Refuse(JsonObject? part, string path, Dictionary<string, string> owned, ConfigErrors errors)
    {
        foreach (string name in (part ?? []).Select(p => p.Key).Where(owned.ContainsKey))
        {
            errors.Add($"{path}.{name}", "it belongs to the job", $"remove it: {owned[name]}");
        }
    }

    private static void CheckTrainer(DeepSpeedJobSpec spec, JsonObject? trainer, ConfigErrors errors)
    {
        const string Path = "spec.template.spec.containers[trainer]";
        HashSet<string> own = [.. (spec.Env ?? []).Select(e => e?.Name ?? "")];
        foreach (JsonObject variable in (trainer?["env"] as JsonArray ?? []).OfType<JsonObject>())
        {
            string name = PodTemplate.Text(variable["name"]) ?? "";
            if (JobValidation.ReservedVariables.Contains(name) || RendezvousSecret.Sets(spec, name) || own.Contains(name))
            {
                errors.Add($"{Path}.env", own.Contains(name) ? $"{name} is in spec.env too" : $"{name} is set by the job itself", "remove it");
            }
        }

        foreach ((string field, bool isGiven) in new[]
        {
            ("image", spec.Image is not null), ("command", spec.Command is not null), ("args", spec.Args is not null),
        })
        {
            if (isGiven && trainer?[field] is not null)
            {
                errors.Add($"{Path}.{field}", $"spec.{field} is given too", "keep one of them");
            }
        }

        foreach (string part in new[] { "limits", "requests" })
        {
            if (((trainer?["resources"] as JsonObject)?[part] as JsonObject)?[spec.GpuResourceName()] is { } gpus
                && gpus.ToString() != spec.PodGpus().ToString(System.Globalization.CultureInfo.InvariantCulture))
            {
                errors.Add($"{Path}.resources.{part}", $"{spec.GpuResourceName()} is {gpus} there, and gpusPerNode {spec.Gpus()}",
                    "remove it and set gpusPerNode");
            }
        }
    }
}
