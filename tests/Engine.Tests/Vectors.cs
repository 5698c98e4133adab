using System.Text.Json;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Expected values from the original, as JSON files beside the tests.</summary>
internal static class Vectors
{
    public static JsonElement Read(string file)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "vectors", file)));
        return document.RootElement.Clone();
    }

    public static void Close(IReadOnlyList<float> expected, IReadOnlyList<float> actual, double relative, double absolute)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (int i = 0; i < expected.Count; i++)
        {
            Assert.True(Math.Abs(expected[i] - actual[i]) <= absolute + relative * Math.Abs(expected[i]),
                $"element {i}: expected {expected[i]}, found {actual[i]}");
        }
    }
}
