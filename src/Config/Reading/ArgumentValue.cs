using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>What a trainer's argument says about one key of the config.</summary>
/// <param name="Name">The argument, as a user knows it.</param>
/// <param name="Value">The value for the key.</param>
/// <param name="FillsMissing">Whether it counts for a missing key too, not only for "auto".</param>
/// <param name="MustMatch">Whether a written value has to be the same.</param>
internal sealed record ArgumentValue(string Name, JsonElement Value, bool FillsMissing, bool MustMatch)
{
    /// <summary>Whether a written value says the same, however it is written.</summary>
    public bool Matches(JsonElement written) => Same(written, Value);

    private static bool Same(JsonElement a, JsonElement b)
    {
        if (b.ValueKind == JsonValueKind.Array)
        {
            return a.ValueKind == JsonValueKind.Array && a.GetArrayLength() == b.GetArrayLength()
                && a.EnumerateArray().Zip(b.EnumerateArray()).All(pair => Same(pair.First, pair.Second));
        }

        if (b.ValueKind == JsonValueKind.Number)
        {
            return ConfigSection.AsNumber(a) is { } number && number.Equals(b.GetDouble());
        }

        return string.Equals(a.ToString(), b.ToString(), StringComparison.OrdinalIgnoreCase);
    }
}
