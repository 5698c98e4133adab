using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Tells whether the pods of an attempt would be made differently today.</summary>
internal static class SpecHash
{
    /// <summary>Hash of what pods are made from; what acts without new pods is left out.</summary>
    /// <remarks>A default that is written out counts as left out: servers write defaults, of new fields also into old
    /// objects, and that must not look like an edit.</remarks>
    public static string Of(DeepSpeedJobSpec spec)
    {
        DeepSpeedJobSpec pods = spec with
        {
            Suspend = null,
            Restart = null,
            ManagedBy = null,
            Elastic = null,
            NumNodes = spec.Elastic is null ? spec.NumNodes : null,
            ActiveDeadlineSeconds = null,
            StartupDeadlineSeconds = null,
            ProgressDeadlineSeconds = null,
            TtlSecondsAfterFinished = null,
            CleanPodPolicy = null,
            KeepFailedPods = null,
            SuccessPolicy = null,
            Progress = null,
            Model = null,

            // Servers wrote this default into old objects.
            Scheduling = spec.Scheduling is { Gang: "None" } scheduling ? scheduling with { Gang = null } : spec.Scheduling,
        };
        JsonObject json = JsonSerializer.SerializeToNode(pods, DeepSpeedJobManifest.Json)!.AsObject();
        RemoveDefaults(typeof(DeepSpeedJobSpec), json);
        return OfText(json.ToJsonString());
    }

    /// <summary>Hash of a text.</summary>
    public static string OfText(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 8));

    private static void RemoveDefaults(Type type, JsonObject json)
    {
        foreach (PropertyInfo property in type.GetProperties())
        {
            string name = JsonNamingPolicy.CamelCase.ConvertName(property.Name);
            if (json[name] is not { } node)
            {
                continue;
            }

            if (node is JsonObject child && property.PropertyType.Namespace == type.Namespace)
            {
                RemoveDefaults(property.PropertyType, child);
                if (child.Count == 0)
                {
                    json.Remove(name);
                }
            }
            else if (property.GetCustomAttribute<DefaultAttribute>() is { } value
                && JsonNode.DeepEquals(node, JsonSerializer.SerializeToNode(value.Value)))
            {
                json.Remove(name);
            }
        }
    }
}
