using DeepSpeedSharp.Engine.ActivationCheckpointing;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>Everything that makes partitioned parameters hard: an output layer that is the embedding, a module that is called twice, one
/// that registers another's parameter, a frozen, an unused and an empty parameter, results in a tuple, a parameter of a module that
/// has children, and blocks that are computed again in backward.</summary>
internal sealed class WindingModel : nn.Module<Tensor, Tensor, Tensor>
{
    private const int Words = 11;
    private const int Width = 6;

    internal readonly TorchSharp.Modules.Embedding words = nn.Embedding(Words, Width);
    internal readonly Block first = new();
    internal readonly Block second = new();
    internal readonly TorchSharp.Modules.Linear unused = nn.Linear(3, 2);
    internal readonly TorchSharp.Modules.Linear frozen = nn.Linear(Width, Width);
    internal readonly Tied tied;
    internal readonly TorchSharp.Modules.Parameter empty = new(zeros(0, 4));

    public WindingModel()
        : base(nameof(WindingModel))
    {
        tied = new Tied(first.mix.weight!);
        RegisterComponents();
        DeepSpeed.Zero.RegisterExternalParameter(this, words.weight!);
        foreach (TorchSharp.Modules.Parameter parameter in frozen.parameters())
        {
            parameter.requires_grad = false;
        }

        using IDisposable noGrad = no_grad();
        int seed = 0;
        foreach (TorchSharp.Modules.Parameter parameter in parameters())
        {
            var random = new Random(++seed); // not the generator of libtorch, which all ranks of a test share
            using Tensor values = tensor([.. Enumerable.Range(0, (int)parameter.numel()).Select(_ => (float)(random.NextDouble() - 0.5))], parameter.shape);
            parameter.copy_(values);
        }
    }

    /// <summary>Computes the blocks again in backward.</summary>
    public bool Checkpoints { get; init; }

    /// <summary>Throws in the middle of forward.</summary>
    public bool Throws { get; set; }

    public override Tensor forward(Tensor tokens, Tensor targets)
    {
        Tensor x = words.call(tokens);
        x = Run(first, x);
        x = frozen.call(x) + tied.call(x);
        x = Run(second, x);
        if (Throws)
        {
            throw new InvalidDataException("a bad batch");
        }

        x = Run(first, x); // a second call
        Tensor logits = x.matmul(words.weight!.t()); // used outside its module
        return nn.functional.cross_entropy(logits.view(-1, Words), targets.view(-1));
    }

    public float[] Flat()
    {
        using IDisposable whole = DeepSpeed.Zero.GatheredParameters(parameters());
        return [.. parameters().Where(p => p.numel() > 0).SelectMany(p =>
        {
            using Tensor wide = p.to(float32);
            return wide.data<float>().ToArray();
        })];
    }

    public static (Tensor Tokens, Tensor Targets) Batch(int seed)
    {
        var random = new Random(seed);
        return (Numbers(), Numbers());

        Tensor Numbers() => tensor([.. Enumerable.Range(0, 10).Select(_ => (long)random.Next(Words))], [2, 5]);
    }

    private Tensor Run(Block block, Tensor x) => Checkpoints ? ActivationCheckpoint.Checkpoint(block.call2, x) : block.call2(x);

    internal sealed class Block : nn.Module<Tensor, (Tensor, Tensor)>
    {
        internal readonly TorchSharp.Modules.Linear mix = nn.Linear(Width, Width);
        private readonly TorchSharp.Modules.LayerNorm norm = nn.LayerNorm(Width);
        private readonly TorchSharp.Modules.Parameter gain = new(ones(Width));

        public Block()
            : base(nameof(Block)) => RegisterComponents();

        public override (Tensor, Tensor) forward(Tensor x)
        {
            Tensor mixed = mix.call(norm.call(x)).tanh();
            return (x + mixed * gain, mixed.narrow(2, 0, 1) * gain.mean());
        }

        public Tensor call2(Tensor x)
        {
            (Tensor y, Tensor side) = call(x);
            return y + side;
        }
    }

    /// <summary>Registers a weight that another module registers too.</summary>
    internal sealed class Tied : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Parameter weight;

        public Tied(TorchSharp.Modules.Parameter weight)
            : base(nameof(Tied))
        {
            this.weight = weight;
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => nn.functional.linear(x, weight);
    }
}
