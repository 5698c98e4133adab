using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Config;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Checks free-form parts of a spec against Kubernetes' own types: the client ignores fields it does not know, and
/// a field that is ignored is worse than one that is refused.</summary>
internal static class ModelFields
{
    /// <summary>Adds a problem for each field that the type does not have, and for a value of a wrong type.</summary>
    /// <typeparam name="T">A model of the client.</typeparam>
    /// <param name="json">The part of the spec.</param>
    /// <param name="path">Where it stands.</param>
    /// <param name="errors">Receives every problem.</param>
    /// <returns>The value; null when there was a problem.</returns>
    public static T? Check<T>(JsonNode json, string path, ConfigErrors errors)
        where T : class
    {
        int before = errors.All.Count;
        Unknown(json, typeof(T), path, errors);
        if (errors.All.Count > before)
        {
            return null;
        }

        try
        {
            return KubernetesJson.Deserialize<T>(json.ToJsonString());
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException or ArgumentException or OverflowException)
        {
            errors.Add(path, "a value has the wrong type", "write it as in a pod; `kubectl explain pod.spec` shows how");
            return null;
        }
    }

    private static void Unknown(JsonNode? json, Type declared, string path, ConfigErrors errors)
    {
        Type type = Nullable.GetUnderlyingType(declared) ?? declared;
        if (json is JsonArray entries && type.IsGenericType && type.GetGenericArguments() is [var item])
        {
            for (int i = 0; i < entries.Count; i++)
            {
                Unknown(entries[i], item, $"{path}[{i}]", errors);
            }
        }
        else if (json is JsonObject map && type.IsGenericType && type.GetGenericArguments() is [_, var value])
        {
            foreach ((string name, JsonNode? node) in map)
            {
                Unknown(node, value, $"{path}.{name}", errors);
            }
        }
        else if (json is JsonObject fields && type.Namespace == typeof(V1Pod).Namespace && type != typeof(ResourceQuantity))
        {
            Dictionary<string, Type> known = type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Select(p => (p.GetCustomAttribute<JsonPropertyNameAttribute>()?.Name, p.PropertyType))
                .Where(p => p.Name is not null).ToDictionary(p => p.Name!, p => p.PropertyType);
            foreach ((string name, JsonNode? node) in fields)
            {
                if (known.TryGetValue(name, out Type? field))
                {
                    Unknown(node, field, $"{path}.{name}", errors);
                }
                else
                {
                    errors.Add($"{path}.{name}", "there is no such field",
                        NearestName.Find(name, known.Keys) is { } near ? $"did you mean \"{near}\"?" : "remove it");
                }
            }
        }
    }
}
