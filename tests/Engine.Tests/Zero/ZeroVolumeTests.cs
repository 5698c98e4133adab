using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>What a rank sends in a step, against the theory: 2P in stage 0, P for each reduce-scatter and P for the gather.</summary>
public sealed class ZeroVolumeTests
{
    private const int World = 4;
    private const int Inputs = 300;
    private const int Outputs = 100;

    [Theory]
    [InlineData(0, 1, 2)]
    [InlineData(1, 1, 2)]
    [InlineData(2, 1, 2)]
    [InlineData(0, 3, 2)]
    [InlineData(1, 3, 2)]
    [InlineData(2, 3, 4)] // three reductions and a gather
    [InlineData(3, 1, 3)] // gathered in forward and in backward
    [InlineData(3, 3, 9)]
    public async Task Step_AnyStage_SendsWhatTheTheorySays(int stage, int accumulation, int volumes)
    {
        HostCollectives[] links = [.. HostLinks.InProcess([1, 1, 1, 1], TimeSpan.FromMinutes(1)).Select(link => new HostCollectives(link))];
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": {{accumulation}}, "zero_optimization": {"stage": {{stage}}, "stage3_param_persistence_threshold": 0, "stage3_max_reuse_distance": 0 },
             "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
            """);
        long[] sent = new long[World];
        Task[] ranks = [.. Enumerable.Range(0, World).Select(rank => Task.Factory.StartNew(() =>
        {
            using var group = new ProcessGroup(new WorkerEnvironment { Rank = rank, LocalRank = rank, WorldSize = World }, links[rank]);
            TorchSharp.Modules.Linear model = nn.Linear(Inputs, Outputs);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, CPU);
            using (engine)
            using (Tensor x = ones(1, Inputs))
            {
                Pass(engine, model, x, accumulation); // the first one of stage 3 also compares the paths of the ranks
                long before = links[rank].BytesSent;
                Pass(engine, model, x, accumulation);
                sent[rank] = links[rank].BytesSent - before;
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        await Task.WhenAll(ranks).WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);

        double theory = volumes * (Inputs + 1) * Outputs * sizeof(float) * (World - 1) / (double)World;
        // Padding to 128 bytes, the norm and the step report are all that may be added.
        Assert.InRange(sent.Average(), theory, theory * 1.01);
    }

    private static void Pass(DeepSpeedEngine engine, nn.Module<Tensor, Tensor> model, Tensor x, int accumulation)
    {
        for (int micro = 0; micro < accumulation; micro++)
        {
            using Tensor loss = engine.Forward(() => model.call(x).sum());
            engine.Backward(loss);
            engine.Step();
        }
    }
}
