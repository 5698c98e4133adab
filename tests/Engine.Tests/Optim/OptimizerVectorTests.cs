using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>Every optimizer, the fast and the plain way, against the reference's trajectories.</summary>
public sealed class OptimizerVectorTests
{
    public static TheoryData<string, bool> Cases()
    {
        var data = new TheoryData<string, bool>();
        foreach (JsonElement c in Vectors.Read("optimizers.json").GetProperty("cases").EnumerateArray())
        {
            data.Add(c.GetProperty("name").GetString()!, true);
            data.Add(c.GetProperty("name").GetString()!, false);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Step_ReferenceTrajectory_Agrees(string name, bool fused)
    {
        JsonElement file = Vectors.Read("optimizers.json");
        JsonElement c = file.GetProperty("cases").EnumerateArray().Single(x => x.GetProperty("name").GetString() == name);
        JsonElement initial = file.GetProperty("initial_params");
        (string type, OptimizerParams numbers) = Numbers(name, c.GetProperty("hyper"));
        using var scope = NewDisposeScope();
        var layout = new Layout(numbers, [.. initial.EnumerateArray().Select(p => new long[] { p.GetArrayLength() })]);
        Tensor values = layout.Spread(Flat(initial));
        using FlatOptimizer optimizer = layout.Optimizer(type, fused);

        foreach ((JsonElement gradient, JsonElement expected) in file.GetProperty("gradients").EnumerateArray()
            .Zip(c.GetProperty("params_after_each_step").EnumerateArray()))
        {
            optimizer.Step(values, layout.Spread(Flat(gradient)), default, null);

            Vectors.Close(Flat(expected), layout.Gather(values), relative: 1e-5, absolute: 1e-6);
        }

        Assert.Equal(6, optimizer.Steps);
    }

    [Theory]
    [InlineData("standard")]
    [InlineData("gram")]
    public void Step_MuonReferenceTrajectory_Agrees(string method)
    {
        foreach (JsonElement c in Vectors.Read("optimizers.json").GetProperty("muon").EnumerateArray())
        {
            using var scope = NewDisposeScope();
            var layout = new Layout(new MuonParams
            {
                LearningRate = c.GetProperty("lr").GetDouble(),
                WeightDecay = c.GetProperty("weight_decay").GetDouble(),
                Momentum = c.GetProperty("momentum").GetDouble(),
                NsMethod = method,
            }, [.. new[] { c.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64()).ToArray() }]);
            Tensor values = layout.Spread(Flat(c.GetProperty("init")));
            using FlatOptimizer optimizer = layout.Optimizer("Muon", fused: true);

            foreach ((JsonElement gradient, JsonElement expected) in c.GetProperty("grads").EnumerateArray()
                .Zip(c.GetProperty("params_after_each_step").EnumerateArray()))
            {
                optimizer.Step(values, layout.Spread(Flat(gradient)), default, null);

                Vectors.Close(Flat(expected), layout.Gather(values), relative: 1e-5, absolute: 1e-6);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Orthogonalize_ReferenceMatrices_Agrees(bool gram)
    {
        foreach (JsonElement c in Vectors.Read("optimizers.json").GetProperty("muon").EnumerateArray())
        {
            using var scope = NewDisposeScope();
            long[] shape = [.. c.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64())];
            JsonElement first = c.GetProperty("grads").EnumerateArray().First();

            Tensor result = NewtonSchulz.Orthogonalize(tensor(Doubles(first)).view(shape), gram);
            Tensor rounded = NewtonSchulz.Orthogonalize(tensor(Flat(first)).view(shape), gram);

            double[] expected = Doubles(c.GetProperty("newton_schulz_of_first_grad"));
            Assert.All(expected.Zip(result.data<double>()), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
            // The five steps lift small singular values some hundredfold, and fp32's rounding errors with them.
            Assert.All(expected.Zip(rounded.data<float>()), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }
    }

    private static (string Type, OptimizerParams Numbers) Numbers(string name, JsonElement h)
    {
        double[] betas = h.TryGetProperty("betas", out JsonElement b) ? [.. b.EnumerateArray().Select(x => x.GetDouble())] : [];
        (string type, OptimizerParams numbers) = name.Split('_')[0] switch
        {
            "adam" or "adamw" => ("Adam", (OptimizerParams)new AdamParams
            {
                Betas = betas,
                Epsilon = h.GetProperty("eps").GetDouble(),
                AdamWMode = h.GetProperty("adam_w_mode").GetBoolean(),
                BiasCorrection = h.GetProperty("bias_correction").GetBoolean(),
            }),
            "lamb" => ("Lamb", new LambParams
            {
                Betas = betas,
                Epsilon = h.GetProperty("eps").GetDouble(),
                MaxCoefficient = h.GetProperty("max_coeff").GetDouble(),
                MinCoefficient = h.GetProperty("min_coeff").GetDouble(),
                BiasCorrection = h.GetProperty("bias_correction").GetBoolean(),
                EpsilonInsideSqrt = h.GetProperty("eps_inside_sqrt").GetBoolean(),
            }),
            "lion" => ("Lion", new LionParams { Betas = betas }),
            "adagrad" or "cpu" => ("Adagrad", new AdagradParams { Epsilon = h.GetProperty("eps").GetDouble() }),
            "sgd" => ("SGD", new SgdParams { Momentum = h.GetProperty("momentum").GetDouble(), Nesterov = h.GetProperty("nesterov").GetBoolean() }),
            _ => throw new InvalidOperationException($"a new kind of case: {name}"),
        };
        return (type, numbers with { LearningRate = h.GetProperty("lr").GetDouble(), WeightDecay = h.GetProperty("weight_decay").GetDouble() });
    }

    private static double[] Doubles(JsonElement lists) => lists.ValueKind == JsonValueKind.Array
        ? [.. lists.EnumerateArray().SelectMany(Doubles)] : [lists.GetDouble()];

    private static float[] Flat(JsonElement lists) => lists.ValueKind == JsonValueKind.Array
        ? [.. lists.EnumerateArray().SelectMany(Flat)] : [lists.GetSingle()];
}
