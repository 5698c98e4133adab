using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Api.V1Alpha1;

/// <summary>The status as JSON, with times in the form Kubernetes writes.</summary>
internal static class StatusJson
{
    /// <summary>Settings of the manifest, plus the form of times.</summary>
    public static JsonSerializerOptions Options { get; } = new(DeepSpeedJobManifest.Json) { Converters = { new Time() } };

    /// <summary>A status as a JSON object.</summary>
    public static JsonObject ToJson(DeepSpeedJobStatus status) =>
        JsonSerializer.SerializeToNode(status, Options)!.AsObject();

    // metav1.Time has whole seconds; anything finer would not survive the way to the server and back.
    private sealed class Time : JsonConverter<DateTimeOffset>
    {
        public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.GetDateTimeOffset();

        public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture));
    }
}
