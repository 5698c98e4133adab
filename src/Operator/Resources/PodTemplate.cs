using System.Text.Json.Nodes;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Lays the user's template over a pod: objects are merged, named list entries too, other values replaced.</summary>
internal static class PodTemplate
{
    // The keys that tell entries of a list apart, as in Kubernetes' strategic merge.
    private static readonly Dictionary<string, string> Keys = new()
    {
        ["containers"] = "name",
        ["initContainers"] = "name",
        ["env"] = "name",
        ["volumes"] = "name",
        ["imagePullSecrets"] = "name",
        ["volumeMounts"] = "mountPath",
        ["ports"] = "containerPort",
        ["hostAliases"] = "ip",
    };

    private static readonly HashSet<string> Appended = ["tolerations", "topologySpreadConstraints", "schedulingGates", "readinessGates"];

    /// <summary>The pod with the template over it.</summary>
    /// <param name="pod">The pod as the job needs it.</param>
    /// <param name="template">A valid template; null for none.</param>
    /// <param name="environment">The job's variables, for init containers.</param>
    public static V1Pod Over(V1Pod pod, JsonObject? template, IReadOnlyList<V1EnvVar> environment)
    {
        if (template is null)
        {
            return pod;
        }

        JsonObject merged = JsonNode.Parse(KubernetesJson.Serialize(pod))!.AsObject();
        Merge(merged, template);
        V1Pod result = KubernetesJson.Deserialize<V1Pod>(merged.ToJsonString());
        foreach (V1Container container in (result.Spec.InitContainers ?? []).Concat(result.Spec.Containers))
        {
            Restrict(container);
        }

        foreach (V1Container container in result.Spec.InitContainers ?? [])
        {
            HashSet<string> own = [.. (container.Env ?? []).Select(e => e.Name)];
            container.Env = [.. environment.Where(e => !own.Contains(e.Name)), .. container.Env ?? []];
        }

        return result;
    }

    /// <summary>Takes from a container what namespaces with restricted pod security do not let it have, unless it says otherwise itself.</summary>
    public static void Restrict(V1Container container)
    {
        V1SecurityContext security = container.SecurityContext ??= new V1SecurityContext();

        // The API server refuses what is privileged and may not become so.
        if (security.Privileged == true || security.Capabilities?.Add?.Contains("CAP_SYS_ADMIN") == true)
        {
            return;
        }

        security.AllowPrivilegeEscalation ??= false;
        security.Capabilities ??= new V1Capabilities();
        security.Capabilities.Drop ??= ["ALL"];
    }

    /// <summary>The template's own entry for the container that trains; null when it has none.</summary>
    public static JsonObject? Trainer(JsonObject? template) =>
        (template?["spec"] as JsonObject)?["containers"] is JsonArray containers
            ? containers.OfType<JsonObject>().FirstOrDefault(c => Text(c["name"]) == WorkerPods.ContainerName) : null;

    /// <summary>The text of a value; null when it is none.</summary>
    public static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    private static void Merge(JsonObject target, JsonObject overlay)
    {
        foreach ((string name, JsonNode? value) in overlay)
        {
            if (value is JsonObject from && target[name] is JsonObject to)
            {
                Merge(to, from);
            }
            else if (value is JsonArray entries && target[name] is JsonArray existing
                && (Appended.Contains(name) || Keys.ContainsKey(name)))
            {
                Merge(existing, entries, Keys.GetValueOrDefault(name));
            }
            else if (value is not null)
            {
                target[name] = value.DeepClone();
            }
        }
    }

    private static void Merge(JsonArray target, JsonArray overlay, string? key)
    {
        foreach (JsonNode? entry in overlay)
        {
            JsonObject? same = key is null || entry is not JsonObject wanted ? null
                : target.OfType<JsonObject>().FirstOrDefault(t => JsonNode.DeepEquals(t[key], wanted[key]));
            if (same is not null)
            {
                Merge(same, entry!.AsObject());
            }
            else if (entry is not null)
            {
                target.Add(entry.DeepClone());
            }
        }
    }
}
