using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class OptimizerTests
{
    public static TheoryData<string, bool> AdamCases()
    {
        var data = new TheoryData<string, bool>();
        foreach (JsonElement c in Vectors.Read("optimizers.json").GetProperty("cases").EnumerateArray()
            .Where(c => c.GetProperty("name").GetString()!.StartsWith("adam", StringComparison.Ordinal)))
        {
            data.Add(c.GetProperty("name").GetString()!, true);
            data.Add(c.GetProperty("name").GetString()!, false);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(AdamCases))]
    public void Step_ReferenceTrajectory_AgreesForTheFusedAndThePlainWay(string name, bool fused)
    {
        JsonElement file = Vectors.Read("optimizers.json");
        JsonElement c = file.GetProperty("cases").EnumerateArray().Single(x => x.GetProperty("name").GetString() == name);
        JsonElement h = c.GetProperty("hyper");
        var config = new AdamParams
        {
            LearningRate = h.GetProperty("lr").GetDouble(),
            Betas = [.. h.GetProperty("betas").EnumerateArray().Select(b => b.GetDouble())],
            Epsilon = h.GetProperty("eps").GetDouble(),
            WeightDecay = h.GetProperty("weight_decay").GetDouble(),
            AdamWMode = h.GetProperty("adam_w_mode").GetBoolean(),
            BiasCorrection = h.GetProperty("bias_correction").GetBoolean(),
        };
        using var scope = NewDisposeScope();
        Tensor values = tensor(Flat(file.GetProperty("initial_params")));
        using var adam = new Adam(config, values, fused);

        foreach ((JsonElement gradient, JsonElement expected) in file.GetProperty("gradients").EnumerateArray()
            .Zip(c.GetProperty("params_after_each_step").EnumerateArray()))
        {
            adam.Step(values, tensor(Flat(gradient)));

            Vectors.Close(Flat(expected), values.data<float>().ToArray(), relative: 1e-5, absolute: 1e-6);
        }
    }

    [Fact]
    public void Step_WithoutBiasCorrection_FirstUpdateIsTheUncorrectedMoments()
    {
        using var scope = NewDisposeScope();
        Tensor values = tensor([1f]);
        using var adam = new Adam(new AdamParams { LearningRate = 0.1, BiasCorrection = false }, values);

        adam.Step(values, tensor([2f]));

        // m = 0.1*2, v = 0.001*4, so the update is 0.1 * 0.2 / sqrt(0.004).
        Assert.Equal(1 - 0.1 * 0.2 / Math.Sqrt(0.004), values.ToSingle(), 1e-5);
    }

    private static float[] Flat(JsonElement lists) => [.. lists.EnumerateArray().SelectMany(l => l.EnumerateArray()).Select(v => v.GetSingle())];
}
