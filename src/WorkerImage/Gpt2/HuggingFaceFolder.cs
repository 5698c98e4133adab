using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Checkpoint;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Reads a model folder as Hugging Face lays it out: <c>config.json</c> and <c>model.safetensors</c>, or several files
/// with <c>model.safetensors.index.json</c>.</summary>
internal static class HuggingFaceFolder
{
    public const string ConfigFile = "config.json";
    public const string WeightsFile = "model.safetensors";
    public const string IndexFile = "model.safetensors.index.json";

    /// <summary>Fills a model with the folder's weights, in whatever element type they are stored. Of partitioned parameters this rank
    /// reads its parts only.</summary>
    /// <exception cref="CheckpointException">Weights are missing, unknown, or of another shape; all are listed.</exception>
    public static void LoadWeights(Gpt2Model model, string folder)
    {
        string[] paths = [.. WeightsFiles(folder)];
        string subject = paths.Length == 1 ? paths[0] : Path.Combine(folder, IndexFile);
        Dictionary<string, TorchSharp.Modules.Parameter> missing = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        var problems = new List<string>();
        foreach (string path in paths) // one at a time: the files of a large model are many
        {
            using var reader = new SafetensorsReader(path);
            foreach (string stored in reader.Names.Where(IsParameter))
            {
                if (!missing.Remove(Normalize(stored), out TorchSharp.Modules.Parameter? parameter))
                {
                    problems.Add($"{stored} is not part of GPT-2");
                }
                else if (!reader.ShapeOf(stored).SequenceEqual(parameter.shape))
                {
                    problems.Add($"{Normalize(stored)} is [{string.Join(", ", reader.ShapeOf(stored))}], {ConfigFile} makes it [{string.Join(", ", parameter.shape)}]");
                }
                else
                {
                    DeepSpeed.Zero.Load(parameter, reader, stored);
                }
            }
        }

        problems.InsertRange(0, missing.Keys.Select(name => $"{name} is missing"));
        if (problems.Count > 0)
        {
            throw new CheckpointException($"{subject} does not fit {ConfigFile}: {string.Join("; ", problems.Take(5))}"
                + (problems.Count > 5 ? $"; and {problems.Count - 5} more" : ""));
        }
    }

    /// <summary>Whether a folder has weights, in one file or in several with an index.</summary>
    public static bool HasWeights(string folder) => File.Exists(Path.Combine(folder, WeightsFile)) || File.Exists(Path.Combine(folder, IndexFile));

    private static IEnumerable<string> WeightsFiles(string folder)
    {
        string index = Path.Combine(folder, IndexFile);
        if (File.Exists(Path.Combine(folder, WeightsFile)) || !File.Exists(index))
        {
            return [Path.Combine(folder, WeightsFile)];
        }

        try
        {
            JsonObject files = JsonNode.Parse(File.ReadAllText(index))!["weight_map"]!.AsObject();
            return [.. files.Select(pair => Path.Combine(folder, Path.GetFileName(pair.Value!.GetValue<string>()))).Distinct()];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or NullReferenceException or IOException)
        {
            throw new CheckpointException($"{index} is not an index of weights: {e.Message}", e);
        }
    }

    // The hub's own files have the names without the first part; older ones store the attention mask, and some the
    // output layer, which is the token embedding once more.
    private static bool IsParameter(string name) =>
        !name.EndsWith(".attn.bias", StringComparison.Ordinal) && !name.EndsWith(".attn.masked_bias", StringComparison.Ordinal)
        && name != "lm_head.weight";

    private static string Normalize(string name) =>
        name.StartsWith("transformer.", StringComparison.Ordinal) ? name : $"transformer.{name}";
}
