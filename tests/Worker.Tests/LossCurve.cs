using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>A training run of the original: its config, and the loss, learning rate and gradient norm of every step.</summary>
internal sealed class LossCurve
{
    public const int SequenceLength = 64;

    private readonly JsonElement _file;

    private LossCurve(JsonElement file) => _file = file;

    /// <summary>The folder of the model that all curves start from.</summary>
    public static string Folder { get; } = Path.Combine(AppContext.BaseDirectory, "vectors", "loss_curves");

    public static string Tokens { get; } = Path.Combine(Folder, "tokens.i32");

    /// <summary>The DeepSpeed config, JSON on one line.</summary>
    public string Config => JsonObject.Create(_file.GetProperty("ds_config"))!.ToJsonString();

    public int WorldSize => _file.GetProperty("world_size").GetInt32();

    public int Steps => _file.GetProperty("steps").GetArrayLength();

    public static LossCurve Read(string name)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, $"{name}.json")));
        return new LossCurve(document.RootElement.Clone());
    }

    /// <summary>Compares a run with it, step by step.</summary>
    /// <param name="lines">The run.</param>
    /// <param name="tolerance">How far losses may be apart, relative; gradient norms ten times as far.</param>
    public void AssertEqual(MetricsLine[] lines, double tolerance = 1e-4)
    {
        JsonElement[] steps = [.. _file.GetProperty("steps").EnumerateArray()];
        Assert.Equal(steps.Select(s => s.GetProperty("step").GetInt64()), lines.Select(l => l.Step));
        foreach ((JsonElement expected, MetricsLine line) in steps.Zip(lines))
        {
            AssertClose(expected.GetProperty("loss"), line.Loss, tolerance);
            AssertClose(expected.GetProperty("lr_after"), line.Lr, 1e-12);
            if (expected.GetProperty("grad_norm").ValueKind != JsonValueKind.Null) // the original does not always know it
            {
                AssertClose(expected.GetProperty("grad_norm"), line.GradNorm, 10 * tolerance);
            }
        }
    }

    private static void AssertClose(JsonElement expected, double actual, double relative)
    {
        double value = expected.GetDouble();
        Assert.InRange(actual, value - Math.Abs(value) * relative, value + Math.Abs(value) * relative);
    }
}
