using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

/// <summary>Every optimizer on a GPU against the plain formulas on the CPU, through the engine.</summary>
[Collection(nameof(AloneTests))]
public sealed class OptimizerDeviceTests
{
    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        foreach (string optimizer in (string[])["AdamW", "Adam", "SGD", "Lion", "Adagrad", "Lamb", "Muon"])
        {
            data.Add(optimizer, "fp32");
            data.Add(optimizer, "bf16");
            data.Add(optimizer, "fp16");
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Train_OnAGpu_FollowsTheCpu(string optimizer, string precision)
    {
        PrecisionParityTests.SkipWithout("cuda");

        (double Loss, double? Norm, bool Overflow)[] expected = Train(optimizer, precision, CPU);
        (double Loss, double? Norm, bool Overflow)[] actual = Train(optimizer, precision, CUDA);

        double tolerance = precision == "fp32" ? 1e-4 : 3e-2;
        Assert.Equal(expected.Select(e => e.Overflow), actual.Select(a => a.Overflow));
        for (int i = 0; i < expected.Length; i++)
        {
            if (!expected[i].Overflow)
            {
                Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * Math.Max(0.1, expected[0].Loss));
            }
        }
    }

    // In fp16, the fourth step overflows: it must leave everything as it was.
    private static (double, double?, bool)[] Train(string optimizer, string precision, Device device) => Ranks.Run(1, group =>
    {
        string mode = precision == "fp32" ? "" : $$""", "{{precision}}": {"enabled": true{{(precision == "fp16" ? ", \"initial_scale_power\": 8, \"hysteresis\": 1" : "")}} }""";
        var model = new ToyModel();
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Run.Config($$"""
            {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": 0.5,
             "optimizer": {"type": "{{optimizer}}", "params": {"lr": 0.01, "weight_decay": 0.01} } {{mode}} }
            """), group, device, printsProgress: false);
        using var run = new Run(engine, model);
        var results = new List<(double, double?, bool)>();
        for (int step = 0; step < 12; step++)
        {
            using (Tensor loss = run.Loss())
            using (Tensor scaled = loss.to(float32) * (precision == "fp16" && step == 3 ? float.PositiveInfinity : 1))
            {
                engine.Backward(scaled);
            }

            StepMetrics metrics = engine.Step()!.Metrics;
            results.Add((metrics.Loss, metrics.GradientNorm, metrics.Overflow));
        }

        return results.ToArray();
    })[0];
}
