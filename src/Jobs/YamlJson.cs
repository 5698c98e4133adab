using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace DeepSpeedSharp.Jobs;

/// <summary>Turns YAML into JSON by YAML's core schema, as kubectl does.</summary>
internal static partial class YamlJson
{
    /// <summary>Reads a document whose root is a mapping.</summary>
    /// <param name="yaml">YAML text; JSON is YAML too.</param>
    /// <param name="errors">Receives the problem when there is one.</param>
    public static JsonObject? Read(string yaml, ConfigErrors errors)
    {
        var stream = new YamlStream();
        try
        {
            stream.Load(new StringReader(yaml));
        }
        catch (YamlException e)
        {
            errors.Add("$", $"line {e.Start.Line}, column {e.Start.Column}: {e.Message}", "correct the YAML at that place");
            return null;
        }

        if (stream.Documents.Count != 1)
        {
            errors.Add("$", $"the file has {stream.Documents.Count} documents", "give a file with one DeepSpeedJob");
            return null;
        }

        if (stream.Documents[0].RootNode is YamlMappingNode mapping)
        {
            return Convert(mapping, 0) as JsonObject;
        }

        errors.Add("$", "the document is not a mapping", "write apiVersion, kind, metadata and spec");
        return null;
    }

    private static JsonNode? Convert(YamlNode node, int depth)
    {
        if (depth > 100)
        {
            throw new ConfigException("the manifest", [new ConfigError("$", "it is nested more than 100 levels deep",
                "write it flatter; an alias may refer to itself")]);
        }

        switch (node)
        {
            case YamlMappingNode mapping:
                var result = new JsonObject();
                foreach ((YamlNode key, YamlNode value) in mapping.Children)
                {
                    result[key is YamlScalarNode { Value: { } text } ? text : key.ToString()] = Convert(value, depth + 1);
                }

                return result;
            case YamlSequenceNode sequence:
                return new JsonArray([.. sequence.Children.Select(child => Convert(child, depth + 1))]);
            default:
                return Scalar((YamlScalarNode)node);
        }
    }

    private static JsonValue? Scalar(YamlScalarNode node)
    {
        string text = node.Value ?? "";
        if (node.Style is not (ScalarStyle.Plain or ScalarStyle.Any)
            || (!node.Tag.IsEmpty && node.Tag == "tag:yaml.org,2002:str"))
        {
            return JsonValue.Create(text);
        }

        return text switch
        {
            "" or "~" or "null" or "Null" or "NULL" => null,
            "true" or "True" or "TRUE" => JsonValue.Create(true),
            "false" or "False" or "FALSE" => JsonValue.Create(false),
            _ when Integer().IsMatch(text) && long.TryParse(text, CultureInfo.InvariantCulture, out long whole) =>
                JsonValue.Create(whole),
            _ when Real().IsMatch(text) => JsonValue.Create(double.Parse(text, CultureInfo.InvariantCulture)),
            _ => JsonValue.Create(text),
        };
    }

    [GeneratedRegex(@"^[-+]?[0-9]+$")]
    private static partial Regex Integer();

    [GeneratedRegex(@"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")]
    private static partial Regex Real();
}
