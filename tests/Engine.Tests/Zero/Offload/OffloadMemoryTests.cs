using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>What offload leaves on the device, and what it takes of the host.</summary>
[Collection(nameof(AloneTests))]
public sealed class OffloadMemoryTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("offload-memory-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // Weights and gradients of 16 bits; masters and two moments of 32. Stage 1 keeps whole gradients for backward.
    [Theory]
    [InlineData(1, 1, "\"offload_optimizer\": {\"device\": \"cpu\"}", 4, 14)]
    [InlineData(1, 4, "\"offload_optimizer\": {\"device\": \"cpu\"}", 4, 3.5)]
    [InlineData(2, 1, "\"offload_optimizer\": {\"device\": \"cpu\"}", 2, 14)]
    [InlineData(2, 4, "\"offload_optimizer\": {\"device\": \"cpu\"}", 2, 3.5)]
    [InlineData(3, 2, "\"offload_optimizer\": {\"device\": \"cpu\"}", 1, 7)]
    [InlineData(3, 1, "\"offload_optimizer\": {\"device\": \"cpu\", \"ratio\": 0.5}", 9, 7)]
    [InlineData(3, 1, "\"offload_optimizer\": {\"device\": \"cpu\"}, \"offload_param\": {\"device\": \"cpu\"}", 0, 14)]
    [InlineData(3, 2, "\"offload_optimizer\": {\"device\": \"nvme\", \"nvme_path\": \"FOLDER\", \"fast_init\": true}", 1, 1)]
    public void ModelStateBytes_Bf16WithAdam_IsTheTheorysPerParameter(int stage, int ranks, string offload, double onDevice, double onHost)
    {
        (long Device, long Host, long Parameters)[] measured = Ranks.Run(ranks, group =>
        {
            DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
                {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}, "optimizer": {"type": "AdamW", "params": {"lr": 0.01} },
                 "zero_optimization": {"stage": {{stage}}, "sub_group_size": 2048, {{(stage == 3 ? "\"param_persistence_threshold\": 0," : "")}} {{offload.Replace("FOLDER", _folder, StringComparison.Ordinal)}} } }
                """);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(nn.Linear(1000, 800), config, group, CPU);
            using (engine)
            {
                return (engine.ModelStateBytes, engine.OffloadedBytes, engine.ParameterCount);
            }
        });

        // Padding may be added, on the host also the buffers of a sub-group and whole pages.
        Assert.All(measured, m => Assert.InRange(m.Device / (double)m.Parameters, onDevice, onDevice * 1.002 + 0.03));
        Assert.All(measured, m => Assert.InRange(m.Host / (double)m.Parameters, onHost * 0.99, onHost * 1.002 + 0.08));
    }
}
