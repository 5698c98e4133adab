using DeepSpeedSharp.Config;
using DeepSpeedSharp.Worker.Gpt2;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

/// <summary>Every stage and place of offload against stage 0, on the CPU and on a GPU.</summary>
[Collection(nameof(AloneTests))]
public sealed class ZeroDeviceTests : IDisposable
{
    private const int Steps = 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("zero-device-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string, string> Cases()
    {
        const string ToCpu = "\"offload_optimizer\": {\"device\": \"cpu\"}";
        string[] stages =
        [
            "\"stage\": 1, \"overlap_comm\": true, \"reduce_bucket_size\": 20000", "\"stage\": 2, \"overlap_comm\": true, \"reduce_bucket_size\": 20000",
            "\"stage\": 3, \"overlap_comm\": true, \"param_persistence_threshold\": 100",
            $"\"stage\": 1, {ToCpu}", $"\"stage\": 2, \"overlap_comm\": true, \"reduce_bucket_size\": 20000, \"sub_group_size\": 5000, {ToCpu}", $"\"stage\": 3, {ToCpu}",
            "\"stage\": 3, \"sub_group_size\": 5000, \"offload_optimizer\": {\"device\": \"cpu\", \"ratio\": 0.4}",
            $"\"stage\": 3, \"param_persistence_threshold\": 100, {ToCpu}, \"offload_param\": {{\"device\": \"cpu\"}}",
            "\"stage\": 3, \"sub_group_size\": 5000, \"offload_optimizer\": {\"device\": \"nvme\", \"nvme_path\": \"FOLDER\", \"pipeline_read\": true, \"pipeline_write\": true}, "
                + "\"offload_param\": {\"device\": \"nvme\", \"nvme_path\": \"FOLDER\", \"max_in_cpu\": 10000, \"buffer_size\": 5000}",
        ];
        var data = new TheoryData<string, string, string>();
        foreach (string device in (string[])["cpu", "cuda"])
        {
            foreach (string precision in (string[])["fp32", "bf16", "fp16"])
            {
                foreach (string stage in stages)
                {
                    data.Add(device, precision, stage);
                }
            }
        }

        return data;
    }

    // Micro batches are accumulated, so that gradients are added on the host.
    [Theory]
    [MemberData(nameof(Cases))]
    public void Train_AnyStageAndOffload_FollowsStageZero(string device, string precision, string zero)
    {
        PrecisionParityTests.SkipWithout(device);
        (double Loss, double Norm)[] expected = Train(new Device(device), precision, "\"stage\": 0");

        (double Loss, double Norm)[] actual = Train(new Device(device), precision, zero.Replace("FOLDER", _folder, StringComparison.Ordinal));

        double tolerance = precision == "fp32" ? 1e-4 : 2e-2;
        for (int i = 0; i < Steps; i++)
        {
            Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * expected[i].Loss);
            Assert.Equal(expected[i].Norm, actual[i].Norm, 5 * tolerance * expected[i].Norm);
        }

        Assert.True(actual[^1].Loss < 0.98 * actual[0].Loss);
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void OffloadAndReload_BetweenSteps_FollowsStageZero(string device)
    {
        PrecisionParityTests.SkipWithout(device);
        (double Loss, double Norm)[] expected = Train(new Device(device), "bf16", "\"stage\": 2");

        Assert.Equal(expected, Train(new Device(device), "bf16", "\"stage\": 2", moves: true));
    }

    private static (double Loss, double Norm)[] Train(Device device, string precision, string zero, bool moves = false)
    {
        string mode = precision == "fp32" ? "" : $$""", "{{precision}}": {"enabled": true{{(precision == "fp16" ? ", \"initial_scale_power\": 10" : "")}} }""";
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_batch_size": 4, "train_micro_batch_size_per_gpu": 2, "gradient_clipping": 1.0, "zero_optimization": { {{zero}} },
             "optimizer": {"type": "AdamW", "params": {"lr": 0.003, "weight_decay": 0.01} } {{mode}} }
            """);
        return Ranks.Run(1, group =>
        {
            Gpt2Model model = PrecisionParityTests.Fresh();
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, device, printsProgress: false);
            using (engine)
            {
                var results = new List<(double, double)>();
                while (results.Count < Steps)
                {
                    (Tensor x, Tensor y) = PrecisionParityTests.ModelData.Batch((int)engine.MicroSteps, 2, device);
                    using (x)
                    using (y)
                    using (Tensor loss = engine.Forward(x, y))
                    {
                        engine.Backward(loss);
                    }

                    if (engine.Step()?.Metrics is { } metrics)
                    {
                        results.Add((metrics.Loss, metrics.GradientNorm!.Value));
                        if (moves)
                        {
                            engine.OffloadStates(nonBlocking: true);
                            engine.ReloadStates(nonBlocking: true);
                        }
                    }
                }

                return results.ToArray();
            }
        })[0];
    }
}
