using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Api.Schema;

/// <summary>Whether the definition that a cluster serves knows what this operator reads and writes.</summary>
/// <remarks>
/// A server drops fields that its definition does not have, without a word: a job would lose part of its spec, and the
/// operator part of its memory. Fields are compared, not version numbers, so that nobody can forget to count one up; the
/// annotation only says to people which release a definition is from.
/// </remarks>
internal static class ServedSchema
{
    /// <summary>Annotation of the definition: the release it was made by.</summary>
    public const string VersionAnnotation = DeepSpeedJobManifest.Group + "/schema-version";

    private const int MostNamed = 5;

    /// <summary>The release of this program.</summary>
    public static string Version { get; } = typeof(ServedSchema).Assembly.GetName().Version!.ToString(3);

    /// <summary>Says what a definition lacks.</summary>
    /// <param name="served">The CustomResourceDefinition, as the server has it.</param>
    /// <returns>A sentence; null when nothing is missing.</returns>
    public static string? Problem(JsonElement served)
    {
        var definition = JsonNode.Parse(served.GetRawText()) as JsonObject;
        JsonNode? schema = (definition?["spec"]?["versions"] as JsonArray ?? []).OfType<JsonObject>()
            .FirstOrDefault(v => (string?)v["name"] == DeepSpeedJobManifest.Version && (bool?)v["served"] == true)?["schema"]?["openAPIV3Schema"];
        if (schema is null)
        {
            return $"the cluster does not serve {DeepSpeedJobManifest.Version} of DeepSpeedJob; apply the custom resource definition of this release";
        }

        var missing = new List<string>();
        Compare((JobDefinition.Build()["spec"]!["versions"]![0]!["schema"]!["openAPIV3Schema"] as JsonObject)!, schema as JsonObject, "", missing);
        if (missing.Count == 0)
        {
            return null;
        }

        string release = (string?)definition!["metadata"]?["annotations"]?[VersionAnnotation] is { } version ? $"of release {version}" : "of an earlier release";
        string more = missing.Count > MostNamed ? $" and {missing.Count - MostNamed} more" : "";
        return $"the custom resource definition in the cluster is {release} and lacks {string.Join(", ", missing.Take(MostNamed))}{more}, "
            + $"which this operator ({Version}) needs; apply deploy/crds/deepspeedjobs.yaml of this release, or let the chart do it (crds.install)";
    }

    private static void Compare(JsonObject wanted, JsonObject? served, string path, List<string> missing)
    {
        if ((bool?)served?["x-kubernetes-preserve-unknown-fields"] == true)
        {
            return;
        }

        if (wanted["items"] is JsonObject item)
        {
            Compare(item, served?["items"] as JsonObject, path + "[]", missing);
        }

        if (wanted["additionalProperties"] is JsonObject value)
        {
            Compare(value, served?["additionalProperties"] as JsonObject, path + ".*", missing);
        }

        foreach ((string name, JsonNode? property) in wanted["properties"] as JsonObject ?? [])
        {
            string at = path.Length == 0 ? name : $"{path}.{name}";
            if ((served?["properties"] as JsonObject)?[name] is JsonObject known)
            {
                Compare((JsonObject)property!, known, at, missing);
            }
            else
            {
                missing.Add(at);
            }
        }
    }
}
