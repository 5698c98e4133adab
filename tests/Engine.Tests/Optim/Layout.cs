using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>Flat buffers for a few tensors, with gaps between them as in the engine.</summary>
internal sealed class Layout
{
    public Layout(OptimizerParams numbers, params long[][] shapes)
        : this([(numbers, shapes)])
    {
    }

    public Layout(IReadOnlyList<(OptimizerParams Numbers, long[][] Shapes)> groups)
    {
        var made = new List<ParameterGroup>();
        foreach ((OptimizerParams numbers, long[][] shapes) in groups)
        {
            var slots = new List<ParameterSlot>();
            foreach (long[] shape in shapes)
            {
                long elements = shape.Aggregate(1L, (a, b) => a * b);
                slots.Add(new ParameterSlot($"p{made.Count}.{slots.Count}", shape, Elements, elements));
                Elements += (elements + 31) / 32 * 32;
            }

            made.Add(new ParameterGroup($"group {made.Count}", numbers, slots));
        }

        Groups = made;
    }

    public IReadOnlyList<ParameterGroup> Groups { get; }

    public long Elements { get; }

    public IEnumerable<ParameterSlot> Slots => Groups.SelectMany(g => g.Slots);

    public FlatOptimizer Optimizer(string type, bool fused) =>
        OptimizerFactory.Create(new OptimizerConfig { Type = type, Params = Groups[0].Params }, Groups, Elements, CPU, fused);

    /// <summary>A flat buffer of the given values, tensor after tensor, and zeros in between.</summary>
    public Tensor Spread(IReadOnlyList<float> values)
    {
        var flat = new float[Elements];
        int next = 0;
        foreach (ParameterSlot slot in Slots)
        {
            for (long i = 0; i < slot.Elements; i++)
            {
                flat[slot.Offset + i] = values[next++];
            }
        }

        return tensor(flat);
    }

    /// <summary>The tensors' values, without what is between them.</summary>
    public float[] Gather(Tensor flat)
    {
        using Tensor wide = flat.to(float32);
        float[] all = wide.data<float>().ToArray();
        return [.. Slots.SelectMany(slot => all.Skip((int)slot.Offset).Take((int)slot.Elements))];
    }

    /// <summary>Normal numbers, the same for the same seed.</summary>
    public Tensor Random(int seed, double scale = 1)
    {
        var random = new Random(seed);
        long count = Slots.Sum(slot => slot.Elements);
        return Spread([.. Enumerable.Range(0, (int)count).Select(_ => (float)(scale * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5)))]);
    }
}
