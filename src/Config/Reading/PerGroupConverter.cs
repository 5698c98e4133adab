using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Writes one value per parameter group as DeepSpeed does: a plain number when all groups share it.</summary>
internal sealed class PerGroupConverter : JsonConverter<IReadOnlyList<double>>
{
    public override IReadOnlyList<double> Read(
        ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.Number
            ? ValueList.Of(reader.GetDouble())
            : ValueList.Of(JsonSerializer.Deserialize<double[]>(ref reader, options) ?? []);

    public override void Write(Utf8JsonWriter writer, IReadOnlyList<double> value, JsonSerializerOptions options)
    {
        if (value.Count == 1)
        {
            writer.WriteNumberValue(value[0]);
            return;
        }

        writer.WriteStartArray();
        foreach (double number in value)
        {
            writer.WriteNumberValue(number);
        }

        writer.WriteEndArray();
    }
}
