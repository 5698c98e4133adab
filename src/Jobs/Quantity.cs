using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Jobs;

/// <summary>A Kubernetes quantity such as <c>500m</c> or <c>64Gi</c>, kept as the user wrote it.</summary>
/// <param name="Text">The quantity; a YAML number is taken as its digits.</param>
[JsonConverter(typeof(Converter))]
public readonly record struct Quantity(string Text)
{
    /// <inheritdoc/>
    public override string ToString() => Text;

    private sealed class Converter : JsonConverter<Quantity>
    {
        public override Quantity Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.TokenType switch
            {
                JsonTokenType.String => new Quantity(reader.GetString()!),
                JsonTokenType.Number => new Quantity(reader.GetDecimal().ToString(CultureInfo.InvariantCulture)),
                _ => throw new JsonException("a quantity is a string such as \"64Gi\" or a number"),
            };

        public override void Write(Utf8JsonWriter writer, Quantity value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value.Text);
    }
}
