using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Kernels;
using DeepSpeedSharp.Engine.Observability;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>GPT-2 with its loss, and with Hugging Face's parameter names and layouts.</summary>
/// <remarks>Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. The output layer is the
/// token embedding.</remarks>
internal sealed class Gpt2Model : Module<Tensor, Tensor, Tensor>, ICountFlops
{
    private readonly Transformer transformer;

    public Gpt2Model(Gpt2Config config)
        : base(nameof(Gpt2Model))
    {
        transformer = new Transformer(config);
        RegisterComponents();
        DeepSpeed.Zero.RegisterExternalParameter(this, transformer.wte.weight!); // the output layer
    }

    /// <summary>Which activations are computed again in backward; null keeps all.</summary>
    public ActivationPlan? Checkpointing { init => transformer.Checkpointing = value; }

    /// <summary>Mean cross entropy of the next token.</summary>
    /// <param name="tokens">[batch, length] int64.</param>
    /// <param name="targets">[batch, length] int64: the token after each.</param>
    /// <returns>Scalar loss.</returns>
    public override Tensor forward(Tensor tokens, Tensor targets)
    {
        Tensor hidden = transformer.call(tokens); // [batch, length, embedding]
        return LinearCrossEntropy.Mean(hidden.view(-1, hidden.shape[2]), transformer.wte.weight!, targets.view(-1));
    }

    /// <summary>The output layer; cross entropy is not counted, as in DeepSpeed.</summary>
    public FlopCount CountFlops(ModuleCall call) =>
        FlopCount.Linear([.. call.Inputs[0], transformer.wte.weight!.shape[1]], transformer.wte.weight!.shape[0]);

    // Field names are parameter names, so they are Hugging Face's.
    private sealed class Transformer : Module<Tensor, Tensor>
    {
        internal readonly Embedding wte;
        private readonly Embedding wpe;
        private readonly ModuleList<Block> h;
        private readonly LayerNorm ln_f;
        private readonly double _dropout;

        public ActivationPlan? Checkpointing { get; set; }

        public Transformer(Gpt2Config config)
            : base(nameof(Transformer))
        {
            // Each part is shared out as soon as it is there, where parameters are partitioned.
            wte = DeepSpeed.Zero.Partition(EmbeddingOf(config.VocabSize, config));
            wpe = DeepSpeed.Zero.Partition(EmbeddingOf(config.Positions, config));
            h = new ModuleList<Block>([.. Enumerable.Range(0, config.Layers).Select(_ => DeepSpeed.Zero.Partition(new Block(config)))]);
            ln_f = DeepSpeed.Zero.Partition(nn.LayerNorm(config.Embedding, config.LayerNormEpsilon));
            _dropout = config.EmbeddingDropout;
            RegisterComponents();
        }

        private static Embedding EmbeddingOf(int count, Gpt2Config config)
        {
            using IDisposable noGrad = no_grad();
            Embedding embedding = nn.Embedding(count, config.Embedding);
            init.normal_(embedding.weight!, 0, config.InitializerRange);
            return embedding;
        }

        public override Tensor forward(Tensor tokens)
        {
            Tensor positions = arange(tokens.shape[1], int64, tokens.device);
            Tensor x = functional.dropout(wte.call(tokens) + wpe.call(positions), _dropout, training);
            if (training && Checkpointing is { } plan)
            {
                return ln_f.call(plan.Run([.. h], x));
            }

            foreach (Block block in h)
            {
                x = block.call(x);
            }

            return ln_f.call(x);
        }
    }

    private sealed class Block : Module<Tensor, Tensor>
    {
        private readonly LayerNorm ln_1;
        private readonly Attention attn;
        private readonly LayerNorm ln_2;
        private readonly Mlp mlp;

        public Block(Gpt2Config config)
            : base(nameof(Block))
        {
            ln_1 = nn.LayerNorm(config.Embedding, config.LayerNormEpsilon);
            attn = new Attention(config);
            ln_2 = nn.LayerNorm(config.Embedding, config.LayerNormEpsilon);
            mlp = new Mlp(config);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            x = x + attn.call(ln_1.call(x));
            return x + mlp.call(ln_2.call(x));
        }
    }

    private sealed class Attention : Module<Tensor, Tensor>, ICountFlops
    {
        private readonly Projection c_attn;
        private readonly Projection c_proj;
        private readonly Gpt2Config _config;

        public Attention(Gpt2Config config)
            : base(nameof(Attention))
        {
            _config = config;
            c_attn = new Projection(config.Embedding, 3 * config.Embedding, config.InitializerRange);
            c_proj = new Projection(config.Embedding, config.Embedding, config.ResidualRange);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            (long batch, long length, long size) = (x.shape[0], x.shape[1], x.shape[2]);
            Tensor[] qkv = c_attn.call(x).split(size, 2); // three of [batch, length, embedding]
            Tensor[] heads = [.. qkv.Select(t => t.view(batch, length, _config.Heads, _config.HeadSize).transpose(1, 2))];
            Tensor mixed = functional.scaled_dot_product_attention(
                heads[0], heads[1], heads[2], null, training ? _config.AttentionDropout : 0, is_casual: true);
            Tensor joined = mixed.transpose(1, 2).contiguous().view(batch, length, size);
            return functional.dropout(c_proj.call(joined), _config.ResidualDropout, training);
        }

        public FlopCount CountFlops(ModuleCall call)
        {
            IReadOnlyList<long> x = call.Inputs[0];
            long[] heads = [x[0], _config.Heads, x[1], _config.HeadSize];
            return FlopCount.Attention(heads, heads, heads);
        }
    }

    private sealed class Mlp : Module<Tensor, Tensor>, ICountFlops
    {
        private readonly Projection c_fc;
        private readonly Projection c_proj;
        private readonly Gpt2Config _config;

        public Mlp(Gpt2Config config)
            : base(nameof(Mlp))
        {
            _config = config;
            c_fc = new Projection(config.Embedding, config.InnerSize, config.InitializerRange);
            c_proj = new Projection(config.InnerSize, config.Embedding, config.ResidualRange);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) =>
            functional.dropout(c_proj.call(Activate(c_fc.call(x))), _config.ResidualDropout, training);

        public FlopCount CountFlops(ModuleCall call) =>
            FlopCount.Elementwise([.. call.Inputs[0].SkipLast(1), _config.InnerSize]);

        private Tensor Activate(Tensor x) => _config.Activation switch
        {
            "relu" => x.relu(),
            "gelu" => x.gelu(),
            _ => x.gelu(TorchSharp.Modules.GELU.Approximate.tanh),
        };
    }

    // Hugging Face's Conv1D: a linear layer whose weight is [in, out].
    private sealed class Projection : Module<Tensor, Tensor>, ICountFlops
    {
        private readonly Parameter weight;
        private readonly Parameter bias;

        public Projection(long inputs, long outputs, double range)
            : base(nameof(Projection))
        {
            using IDisposable noGrad = no_grad();
            weight = new Parameter(empty(inputs, outputs));
            bias = new Parameter(zeros(outputs));
            init.normal_(weight, 0, range);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            long[] shape = x.shape;
            Tensor flat = addmm(bias, x.view(-1, shape[^1]), weight, 1, 1);
            return flat.view([.. shape[..^1], bias.shape[0]]);
        }

        public FlopCount CountFlops(ModuleCall call)
        {
            IReadOnlyList<long> x = call.Inputs[0];
            return FlopCount.AddMM([x.SkipLast(1).Aggregate(1L, (product, n) => product * n), x[^1]], weight.shape);
        }
    }
}
