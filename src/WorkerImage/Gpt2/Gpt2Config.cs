using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Shape of a GPT-2 model, with Hugging Face's names and defaults (those of the 124M model).</summary>
internal sealed record Gpt2Config
{
    public int VocabSize { get; init; } = 50257;
    public int Positions { get; init; } = 1024;
    public int Embedding { get; init; } = 768;
    public int Layers { get; init; } = 12;
    public int Heads { get; init; } = 12;
    public int? Inner { get; init; }
    public string Activation { get; init; } = "gelu_new";
    public double LayerNormEpsilon { get; init; } = 1e-5;
    public double AttentionDropout { get; init; } = 0.1;
    public double EmbeddingDropout { get; init; } = 0.1;
    public double ResidualDropout { get; init; } = 0.1;
    public double InitializerRange { get; init; } = 0.02;

    public int HeadSize => Embedding / Heads;

    public int InnerSize => Inner ?? 4 * Embedding;

    /// <summary>Standard deviation of the starting weights of layers that add to the residual stream (section 2.3 of the
    /// paper).</summary>
    public double ResidualRange => InitializerRange / Math.Sqrt(2.0 * Layers);

    /// <summary>Floating-point operations of forward and backward for one token: the matrix products alone, backward as
    /// two forwards.</summary>
    /// <remarks>Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, appendix B.</remarks>
    /// <param name="length">Tokens of a sample; each attends to that many.</param>
    public double FlopsPerToken(int length)
    {
        double layer = 4.0 * Embedding * Embedding + 2.0 * Embedding * InnerSize; // weights that meet the token
        double attention = 2.0 * length * Embedding; // scores, and their mix of the values
        return 3 * 2 * (Layers * (layer + attention) + (double)VocabSize * Embedding);
    }

    /// <summary>The published sizes, by their names on the hub.</summary>
    public static Gpt2Config? OfSize(string name) => name switch
    {
        "gpt2" => new Gpt2Config(),
        "gpt2-medium" => new Gpt2Config { Embedding = 1024, Layers = 24, Heads = 16 },
        "gpt2-large" => new Gpt2Config { Embedding = 1280, Layers = 36, Heads = 20 },
        "gpt2-xl" => new Gpt2Config { Embedding = 1600, Layers = 48, Heads = 25 },
        _ => null,
    };

    /// <summary>Reads a Hugging Face <c>config.json</c>.</summary>
    /// <exception cref="ConfigException">It is not a GPT-2 that this program trains; all problems are listed.</exception>
    public static Gpt2Config Load(string path)
    {
        var errors = new ConfigErrors();
        var config = new Gpt2Config();
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllText(path));
            config = Read(document.RootElement, errors);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            errors.Add("$", $"it cannot be read: {e.Message}", "give a Hugging Face config.json of a GPT-2 model");
        }

        errors.ThrowIfAny(path);
        config.Validate(errors);
        errors.ThrowIfAny(path);
        return config;
    }

    /// <summary>The Hugging Face <c>config.json</c> of this shape.</summary>
    public JsonObject ToJson() => new()
    {
        ["architectures"] = new JsonArray("GPT2LMHeadModel"),
        ["model_type"] = "gpt2",
        ["vocab_size"] = VocabSize,
        ["n_positions"] = Positions,
        ["n_embd"] = Embedding,
        ["n_layer"] = Layers,
        ["n_head"] = Heads,
        ["n_inner"] = Inner,
        ["activation_function"] = Activation,
        ["layer_norm_epsilon"] = LayerNormEpsilon,
        ["attn_pdrop"] = AttentionDropout,
        ["embd_pdrop"] = EmbeddingDropout,
        ["resid_pdrop"] = ResidualDropout,
        ["initializer_range"] = InitializerRange,
    };

    /// <summary>Checks that the numbers make a model.</summary>
    public void Validate(ConfigErrors errors)
    {
        foreach ((string name, int value) in new[]
        {
            ("vocab_size", VocabSize), ("n_positions", Positions), ("n_embd", Embedding), ("n_layer", Layers),
            ("n_head", Heads), ("n_inner", InnerSize),
        })
        {
            if (value < 1)
            {
                errors.Add(name, $"{value} is not a size", "use 1 or more");
            }
        }

        if (Heads > 0 && Embedding % Heads != 0)
        {
            errors.Add("n_embd", $"{Embedding} is not a multiple of {Heads} heads", $"use {Embedding / Heads * Heads + Heads}, or another n_head");
        }

        if (Activation is not ("gelu_new" or "gelu_pytorch_tanh" or "gelu" or "relu"))
        {
            errors.Add("activation_function", $"\"{Activation}\" is not supported", "use gelu_new, gelu_pytorch_tanh, gelu or relu");
        }
    }

    private static Gpt2Config Read(JsonElement root, ConfigErrors errors)
    {
        var defaults = new Gpt2Config();
        if (Get("model_type", e => e.GetString(), "gpt2") is var type && type != "gpt2")
        {
            errors.Add("model_type", $"\"{type}\" is not supported", "use a GPT-2 model");
        }

        Refuse("tie_word_embeddings", false, "an output layer of its own is not supported");
        Refuse("scale_attn_weights", false, "unscaled attention is not supported");
        Refuse("scale_attn_by_inverse_layer_idx", true, "scaling attention by layer is not supported");
        Refuse("add_cross_attention", true, "cross attention is not supported");
        return new Gpt2Config
        {
            VocabSize = Int("vocab_size", defaults.VocabSize),
            Positions = Int("n_positions", Int("n_ctx", defaults.Positions)),
            Embedding = Int("n_embd", defaults.Embedding),
            Layers = Int("n_layer", defaults.Layers),
            Heads = Int("n_head", defaults.Heads),
            Inner = root.TryGetProperty("n_inner", out JsonElement inner) && inner.ValueKind == JsonValueKind.Number ? inner.GetInt32() : null,
            Activation = Get("activation_function", e => e.GetString(), defaults.Activation)!,
            LayerNormEpsilon = Number("layer_norm_epsilon", defaults.LayerNormEpsilon),
            AttentionDropout = Number("attn_pdrop", defaults.AttentionDropout),
            EmbeddingDropout = Number("embd_pdrop", defaults.EmbeddingDropout),
            ResidualDropout = Number("resid_pdrop", defaults.ResidualDropout),
            InitializerRange = Number("initializer_range", defaults.InitializerRange),
        };

        int Int(string name, int otherwise) => Get(name, e => e.GetInt32(), otherwise);
        double Number(string name, double otherwise) => Get(name, e => e.GetDouble(), otherwise);
        T Get<T>(string name, Func<JsonElement, T> read, T otherwise)
        {
            try
            {
                return root.TryGetProperty(name, out JsonElement e) && e.ValueKind != JsonValueKind.Null ? read(e) : otherwise;
            }
            catch (Exception e) when (e is InvalidOperationException or FormatException)
            {
                errors.Add(name, "the value has the wrong type", "compare with a config.json of the hub");
                return otherwise;
            }
        }

        void Refuse(string name, bool refused, string problem)
        {
            if (root.TryGetProperty(name, out JsonElement e) && e.ValueKind == (refused ? JsonValueKind.True : JsonValueKind.False))
            {
                errors.Add(name, problem, "use a model without it");
            }
        }
    }
}
