using System.ComponentModel;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Api.Schema;

/// <summary>Makes structural OpenAPI schemas from records, by their attributes.</summary>
/// <remarks>A default that the schema names lives in code too, so that objects from before it get it as well.</remarks>
internal static class SchemaOf
{
    /// <summary>What fields say that the API has but this release has not built.</summary>
    public const string NotSupported = "Not supported yet: refused by the operator.";

    /// <summary>The schema of a record.</summary>
    /// <param name="type">The record.</param>
    /// <param name="description">What it is for.</param>
    public static JsonObject Record(Type type, string? description)
    {
        var properties = new SortedDictionary<string, JsonObject>(StringComparer.Ordinal);
        foreach (PropertyInfo property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(p => p.GetCustomAttribute<JsonExtensionDataAttribute>() is null))
        {
            properties[JsonNamingPolicy.CamelCase.ConvertName(property.Name)] = Property(property);
        }

        foreach (string planned in type.GetCustomAttribute<PlannedFieldsAttribute>()?.Names ?? [])
        {
            // The server must keep such a field, or nobody could tell the user that it has no effect.
            properties[planned] = Described(NotSupported, new JsonObject { ["x-kubernetes-preserve-unknown-fields"] = true });
        }

        var schema = new JsonObject { ["type"] = "object", ["properties"] = new JsonObject() };
        foreach ((string name, JsonObject property) in properties)
        {
            schema["properties"]![name] = property;
        }

        RuleAttribute[] rules = [.. type.GetCustomAttributes<RuleAttribute>()];
        if (rules.Length > 0)
        {
            schema["x-kubernetes-validations"] = new JsonArray([.. rules.Select(r =>
                new JsonObject { ["rule"] = r.Expression, ["message"] = r.Message })]);
        }

        return Described(description, schema);
    }

    private static JsonObject Property(PropertyInfo property)
    {
        string description = property.GetCustomAttribute<DescriptionAttribute>()?.Description
            ?? throw new InvalidOperationException($"{property.DeclaringType!.Name}.{property.Name} has no Description");
        JsonObject schema = property.GetCustomAttribute<PreserveUnknownFieldsAttribute>() is not null
            ? new JsonObject { ["type"] = "object", ["x-kubernetes-preserve-unknown-fields"] = true }
            : Value(property.PropertyType);
        if (property.GetCustomAttribute<RangeAttribute>() is { } range)
        {
            schema["minimum"] = range.Minimum;
            schema["maximum"] = range.Maximum;
        }

        if (property.GetCustomAttribute<OneOfAttribute>() is { } words)
        {
            schema["enum"] = new JsonArray([.. words.Values.Select(w => (JsonNode)w)]);
        }

        if (property.GetCustomAttribute<DefaultAttribute>() is { } value)
        {
            schema["default"] = JsonSerializer.SerializeToNode(value.Value);
        }

        if (property.GetCustomAttribute<MaxLengthAttribute>() is { } longest)
        {
            schema["maxLength"] = longest.Length;
        }

        if (property.GetCustomAttribute<PatternAttribute>() is { } pattern)
        {
            schema["pattern"] = pattern.Expression;
        }

        if (property.GetCustomAttribute<MaxItemLengthAttribute>() is { } longestItem)
        {
            schema["items"]!["maxLength"] = longestItem.Length;
        }

        if (property.GetCustomAttribute<MaxItemsAttribute>() is { } most)
        {
            schema["maxItems"] = most.Count;
        }

        if (property.GetCustomAttribute<ListMapKeyAttribute>() is { } key)
        {
            schema["x-kubernetes-list-type"] = "map";
            schema["x-kubernetes-list-map-keys"] = new JsonArray(key.Key);
            schema["items"]!["required"] = new JsonArray(key.Key);
        }

        return Described(description, schema);
    }

    private static JsonObject Value(Type declared)
    {
        Type type = Nullable.GetUnderlyingType(declared) ?? declared;
        return type switch
        {
            _ when type == typeof(string) => new JsonObject { ["type"] = "string" },
            _ when type == typeof(bool) => new JsonObject { ["type"] = "boolean" },
            _ when type == typeof(int) => new JsonObject { ["type"] = "integer", ["format"] = "int32" },
            _ when type == typeof(long) => new JsonObject { ["type"] = "integer", ["format"] = "int64" },
            _ when type == typeof(DateTimeOffset) => new JsonObject { ["type"] = "string", ["format"] = "date-time" },
            _ when type == typeof(Quantity) => new JsonObject
            {
                ["anyOf"] = new JsonArray(new JsonObject { ["type"] = "integer" }, new JsonObject { ["type"] = "string" }),
                ["x-kubernetes-int-or-string"] = true,
            },
            _ when Element(type, typeof(IReadOnlyDictionary<,>)) is [_, var value] =>
                new JsonObject { ["type"] = "object", ["additionalProperties"] = Value(value) },
            _ when Element(type, typeof(IReadOnlyList<>)) is [var item] =>
                new JsonObject { ["type"] = "array", ["items"] = Value(item), ["x-kubernetes-list-type"] = "atomic" },
            _ when type.IsClass && type.Namespace?.StartsWith("DeepSpeedSharp.", StringComparison.Ordinal) == true => Record(type, null),
            _ => throw new InvalidOperationException($"{type} has no place in a schema"),
        };
    }

    private static Type[]? Element(Type type, Type generic) =>
        type.IsGenericType && type.GetGenericTypeDefinition() == generic ? type.GetGenericArguments() : null;

    private static JsonObject Described(string? description, JsonObject schema)
    {
        if (description is not null)
        {
            schema.Insert(0, "description", description);
        }

        return schema;
    }
}
