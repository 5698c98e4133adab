using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>A DeepSpeedJob as it stands in a file: name and spec.</summary>
/// <param name="Name">Name of the job.</param>
/// <param name="Namespace">Its namespace; "default" when the file names none.</param>
/// <param name="Spec">What it asks for.</param>
public sealed record DeepSpeedJobManifest(string Name, string Namespace, DeepSpeedJobSpec Spec)
{
    /// <summary>API group of the kind.</summary>
    public const string Group = "deepspeedsharp.dev";

    /// <summary>API version of the kind.</summary>
    public const string Version = "v1alpha1";

    /// <summary>The kind.</summary>
    public const string Kind = "DeepSpeedJob";

    /// <summary>JSON settings of the manifest: camelCase names, nulls left out.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
        PropertyNameCaseInsensitive = false,
        NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.Strict,
    };

    /// <summary>Reads and validates a manifest file with one DeepSpeedJob.</summary>
    /// <param name="path">A YAML or JSON file.</param>
    /// <returns>The valid manifest.</returns>
    /// <exception cref="ConfigException">The file is missing or has problems; all of them are listed.</exception>
    public static DeepSpeedJobManifest Load(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(path, [new ConfigError("$", $"the file cannot be read: {e.Message}",
                "give the path of a DeepSpeedJob manifest")]);
        }

        return Parse(text, path);
    }

    /// <summary>Reads and validates a manifest.</summary>
    /// <param name="yaml">YAML or JSON text with one DeepSpeedJob.</param>
    /// <param name="subject">What to call the text in messages.</param>
    /// <returns>The valid manifest.</returns>
    /// <exception cref="ConfigException">The text has problems; all of them are listed.</exception>
    public static DeepSpeedJobManifest Parse(string yaml, string subject = "the manifest")
    {
        var errors = new ConfigErrors();
        DeepSpeedJobManifest? manifest = Read(yaml, errors);
        errors.ThrowIfAny(subject);
        return manifest!;
    }

    /// <summary>The whole manifest as it is sent to a cluster: labels and annotations too, and the spec verbatim.</summary>
    /// <param name="yaml">YAML or JSON text that <see cref="Parse"/> accepts.</param>
    /// <exception cref="ConfigException">The text is no YAML mapping.</exception>
    public static JsonObject ToObject(string yaml)
    {
        var errors = new ConfigErrors();
        JsonObject? root = YamlJson.Read(yaml, errors);
        errors.ThrowIfAny("the manifest");
        return root!;
    }

    private static DeepSpeedJobManifest? Read(string yaml, ConfigErrors errors)
    {
        if (YamlJson.Read(yaml, errors) is not { } root)
        {
            return null;
        }

        Expect(root, "apiVersion", $"{Group}/{Version}", errors);
        Expect(root, "kind", Kind, errors);
        foreach (string key in root.Select(p => p.Key).Where(k => k is not ("apiVersion" or "kind" or "metadata" or "spec" or "status")))
        {
            errors.Add(key, "there is no such field", NearestName.Find(key, ["metadata", "spec", "kind", "apiVersion"]) is { } near
                ? $"did you mean \"{near}\"?" : "remove it");
        }

        JsonObject? metadata = root["metadata"] as JsonObject;
        string name = metadata?["name"] is JsonValue n && n.TryGetValue(out string? text) ? text : "";
        string ns = metadata?["namespace"] is JsonValue m && m.TryGetValue(out string? other) ? other : "default";
        JobValidation.CheckName(name, errors);
        if (root["spec"] is not JsonObject specNode)
        {
            errors.Add("spec", "it is missing", "add spec: with numNodes, args and config");
            return null;
        }

        if (ReadSpec(specNode, errors) is not { } spec)
        {
            return null;
        }

        JobValidation.Check(spec, errors);
        return new DeepSpeedJobManifest(name, ns, spec);
    }

    /// <summary>Reads a spec; a value of the wrong type becomes a problem with its path.</summary>
    /// <param name="spec">The <c>spec</c> object.</param>
    /// <param name="errors">Receives the problem.</param>
    /// <returns>The spec, or null when it could not be read.</returns>
    public static DeepSpeedJobSpec? ReadSpec(JsonObject spec, ConfigErrors errors)
    {
        try
        {
            return spec.Deserialize<DeepSpeedJobSpec>(Json);
        }
        catch (JsonException e)
        {
            string path = (e.Path ?? "$").Replace("$", "spec", StringComparison.Ordinal);
            errors.Add(path, "the value has the wrong type", "see `kubectl explain dsj.spec` for the type of each field");
            return null;
        }
    }

    private static void Expect(JsonObject root, string key, string expected, ConfigErrors errors)
    {
        string? found = root[key] is JsonValue value && value.TryGetValue(out string? text) ? text : root[key]?.ToJsonString();
        if (found != expected)
        {
            errors.Add(key, found is null ? "it is missing" : $"\"{found}\" is not a DeepSpeedJob of this version",
                $"write {key}: {expected}");
        }
    }
}
