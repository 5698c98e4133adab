using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Where a model comes from: a folder with weights, a config, or the name of a size.</summary>
/// <param name="Config">Its shape, before the data decides the vocabulary.</param>
/// <param name="Folder">Folder with weights; null for fresh ones.</param>
/// <param name="VocabIsOpen">Whether the data may decide the vocabulary.</param>
/// <param name="Name">What the user called it.</param>
internal sealed record Gpt2Source(Gpt2Config Config, string? Folder, bool VocabIsOpen, string Name)
{
    public string Description => $"{Name} ({Config.Layers} layers, {Config.Heads} heads, {Config.Embedding} wide, "
        + $"{(Folder is null ? "fresh weights" : "weights from the folder")})";

    /// <exception cref="ConfigException">There is no such model, or its config is not one this program trains.</exception>
    public static Gpt2Source From(TrainOptions options)
    {
        string model = options.Model;
        var errors = new ConfigErrors();
        (Gpt2Config? config, string? folder) = Gpt2Config.OfSize(model) is { } size && !Directory.Exists(model) ? (size, null)
            : Directory.Exists(model) ? (Gpt2Config.Load(Path.Combine(model, HuggingFaceFolder.ConfigFile)), HuggingFaceFolder.HasWeights(model) ? model : null)
            : File.Exists(model) ? (Gpt2Config.Load(model), (string?)null) : (null, null);
        if (config is null)
        {
            errors.Add("--model", $"\"{model}\" is not a folder, a config.json or a size",
                NearestName.Find(model, ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]) is { } near
                    ? $"did you mean {near}?" : "use a Hugging Face folder, or gpt2, gpt2-medium, gpt2-large, gpt2-xl");
            errors.ThrowIfAny("the command line");
        }

        bool changesShape = options.VocabSize is not null || options.Layers is not null || options.Heads is not null
            || options.Embedding is not null;
        if (folder is not null && changesShape)
        {
            errors.Add("--model", $"{folder} has weights, so its shape is fixed",
                "remove --vocab-size, --n-layer, --n-head and --n-embd, or give only its config.json");
        }

        Gpt2Config shaped = config! with
        {
            VocabSize = options.VocabSize ?? config.VocabSize,
            Layers = options.Layers ?? config.Layers,
            Heads = options.Heads ?? config.Heads,
            Embedding = options.Embedding ?? config.Embedding,
            AttentionDropout = options.Dropout ?? config.AttentionDropout,
            EmbeddingDropout = options.Dropout ?? config.EmbeddingDropout,
            ResidualDropout = options.Dropout ?? config.ResidualDropout,
        };
        shaped.Validate(errors);
        errors.ThrowIfAny("the command line");
        bool isSize = folder is null && !File.Exists(model) && !Directory.Exists(model);
        return new Gpt2Source(shaped, folder, isSize && options.VocabSize is null, model);
    }

    /// <summary>The shape to train, with the vocabulary of the data where it is free.</summary>
    /// <param name="dataVocabulary">256 for text, null for tokens.</param>
    /// <exception cref="ConfigException">The model's vocabulary is too small for the data.</exception>
    public Gpt2Config ShapeFor(int? dataVocabulary)
    {
        if (dataVocabulary is not { } needed)
        {
            return Config;
        }

        if (VocabIsOpen)
        {
            return Config with { VocabSize = needed };
        }

        return Config.VocabSize >= needed ? Config : throw new ConfigException("the command line", [new ConfigError(
            "--data", $"text is read as bytes, which needs a vocabulary of {needed}; the model has {Config.VocabSize}",
            "use a model with 256 or more, or tokens made for this model")]);
    }

    public void LoadWeights(Gpt2Model model)
    {
        if (Folder is not null)
        {
            HuggingFaceFolder.LoadWeights(model, Folder);
        }
    }
}
