using System.Globalization;
using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>Bytes of model states that a rank holds in each ZeRO stage, measured, beside the theory.</summary>
/// <remarks>Rajbhandari et al., "ZeRO", 2020, figure 1: 16-bit weights and gradients, fp32 masters and Adam's two moments.</remarks>
internal static class ZeroMemoryReport
{
    private static readonly int[] Worlds = [1, 2, 3, 4, 8];

    /// <summary>Measures and writes the page.</summary>
    /// <param name="path">Where to.</param>
    /// <returns>The text.</returns>
    public static string Write(string path)
    {
        var text = new StringBuilder();
        text.AppendLine("# Model states per rank").AppendLine();
        text.AppendLine("Bytes per parameter of weights, gradients, fp32 masters and Adam's moments in bf16 training, between two steps: measured on the");
        text.AppendLine("tensors of every rank (the largest is shown), beside the theory. Eight layers of 512 x 512 with biases, nothing persistent.");
        text.AppendLine("Written by `dotnet run -c Release --project benchmarks/Engine.Benchmarks -- zero-memory`.").AppendLine();
        text.AppendLine("| Stage | Theory | " + string.Join(" | ", Worlds.Select(n => $"{n} rank{(n == 1 ? "" : "s")}")) + " |");
        text.AppendLine("| --- | --- |" + string.Concat(Worlds.Select(_ => " --- |")));
        foreach ((int stage, string name, Func<int, double> theory) in ((int, string, Func<int, double>)[])
            [(0, "16", _ => 16), (1, "4 + 12/N", n => 4 + 12.0 / n), (2, "2 + 14/N", n => 2 + 14.0 / n), (3, "16/N", n => 16.0 / n)])
        {
            IEnumerable<string> cells = Worlds.Select(n => string.Create(CultureInfo.InvariantCulture, $"{Measure(stage, n):0.000} of {theory(n):0.000}"));
            text.AppendLine(CultureInfo.InvariantCulture, $"| {stage} | {name} | {string.Join(" | ", cells)} |");
        }

        File.WriteAllText(path, text.ToString());
        return text.ToString();
    }

    private static double Measure(int stage, int world)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true},
             "zero_optimization": {"stage": {{stage}}, "stage3_param_persistence_threshold": 0}, "optimizer": {"type": "AdamW"} }
            """);
        IReadOnlyList<ITransport> ring = world == 1 ? [] : InProcessTransport.CreateRing(world);
        Task<double>[] ranks = [.. Enumerable.Range(0, world).Select(rank => Task.Factory.StartNew(() =>
        {
            using var group = new ProcessGroup(new WorkerEnvironment { Rank = rank, LocalRank = rank, WorldSize = world }, world == 1 ? null : ring[rank]);
            nn.Module<Tensor, Tensor> model = nn.Sequential(Enumerable.Range(0, 8).Select(i => ($"{i}", (nn.Module<Tensor, Tensor>)nn.Linear(512, 512))));
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, CPU, printsProgress: false);
            using (engine)
            using (Tensor x = ones(1, 512, dtype: bfloat16))
            {
                using Tensor loss = engine.Forward(() => model.call(x).sum());
                engine.Backward(loss);
                engine.Step();
                return engine.ModelStateBytes / (double)engine.ParameterCount;
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        return Task.WhenAll(ranks).GetAwaiter().GetResult().Max();
    }
}
