using DeepSpeedSharp.Engine.Checkpoint;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Reads a model folder as Hugging Face lays it out: <c>config.json</c> and <c>model.safetensors</c>.</summary>
internal static class HuggingFaceFolder
{
    public const string ConfigFile = "config.json";
    public const string WeightsFile = "model.safetensors";

    /// <summary>Fills a model with the folder's weights, in whatever element type they are stored.</summary>
    /// <exception cref="CheckpointException">Weights are missing, unknown, or of another shape; all are listed.</exception>
    public static void LoadWeights(Gpt2Model model, string folder)
    {
        string path = Path.Combine(folder, WeightsFile);
        using var reader = new SafetensorsReader(path);
        Dictionary<string, string> stored = reader.Names.Where(IsParameter).ToDictionary(Normalize, name => name);
        var problems = new List<string>();
        using IDisposable noGrad = no_grad();
        foreach ((string name, TorchSharp.Modules.Parameter parameter) in model.named_parameters())
        {
            if (!stored.Remove(name, out string? source))
            {
                problems.Add($"{name} is missing");
            }
            else if (!reader.ShapeOf(source).SequenceEqual(parameter.shape))
            {
                problems.Add($"{name} is [{string.Join(", ", reader.ShapeOf(source))}], {ConfigFile} makes it [{string.Join(", ", parameter.shape)}]");
            }
            else
            {
                using Tensor value = reader.Read(source);
                parameter.copy_(value);
            }
        }

        problems.AddRange(stored.Values.Select(name => $"{name} is not part of GPT-2"));
        if (problems.Count > 0)
        {
            throw new CheckpointException($"{path} does not fit {ConfigFile}: {string.Join("; ", problems.Take(5))}"
                + (problems.Count > 5 ? $"; and {problems.Count - 5} more" : ""));
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
