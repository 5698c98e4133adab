using System.Diagnostics;
using System.Globalization;
using System.Text;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>A step of training with the engine, against the same step as a bare TorchSharp loop.</summary>
/// <remarks>Both step in turn, in changing order, so that whatever else the machine does meets both alike; medians of
/// times, and of ratios within a round.</remarks>
internal sealed class EngineStepReport(int rounds)
{
    private const int Warmup = 30;

    private sealed record Candidate(string Name, Func<float> Step)
    {
        public List<double> Seconds { get; } = [];
        public List<double> Bytes { get; } = [];
        public int Collections { get; set; }
        public float Loss { get; set; }
    }

    /// <summary>Measures and writes a Markdown file.</summary>
    /// <param name="folder">Where to.</param>
    /// <returns>Its path.</returns>
    public string Write(string folder)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# A step of training, {Machine.Headline}\n\n");
        text.Append(CultureInfo.InvariantCulture, $"{StepModel.Description}; fp32, AdamW, gradients clipped, {Machine.Versions}. Medians of {rounds} rounds of\n");
        text.Append("all loops in turn, ratios within a round. Every loop reads its loss and gradient norm in each step.\n\n");
        text.Append("| threads | loop | ms | of the bare loop | managed bytes | gen-0 collections in all |\n| ---: | --- | ---: | ---: | ---: | ---: |\n");
        foreach (int threads in (int[])[1, 2])
        {
            set_num_threads(threads);
            Measure(text, threads);
        }

        text.Append(CultureInfo.InvariantCulture, $"\nLoad average at the end {Machine.LoadAverage}. The bare loop is the least that trains this model: parameters and gradients in\n");
        text.Append("flat buffers, one norm over all gradients, and the engine's own AdamW kernel, so that the difference is what the engine\n"
            + "adds. The loop per tensor is what programs usually have: TorchSharp's AdamW and clip_grad_norm_.\n");
        return Machine.Keep(folder, "engine-step", text.ToString());
    }

    private void Measure(StringBuilder text, int threads)
    {
        using var engine = new EngineLoop();
        using var bare = new BareLoop();
        using var perTensor = new PerTensorLoop();
        Candidate[] candidates = [new("bare, flat", bare.Step), new("engine", engine.Step), new("bare, per tensor", perTensor.Step)];
        for (int round = -Warmup; round < rounds; round++)
        {
            foreach (Candidate candidate in round % 2 == 0 ? candidates : candidates.Reverse())
            {
                Step(candidate, isMeasured: round >= 0);
            }
        }

        // Same weights, same data, same rule: a difference would mean that they do not do the same work.
        if (Math.Abs(candidates[0].Loss - candidates[1].Loss) > 1e-4 * candidates[0].Loss)
        {
            throw new InvalidOperationException($"the losses differ: {candidates[0].Loss} and {candidates[1].Loss}");
        }

        foreach (Candidate c in candidates)
        {
            double ratio = Machine.Median(c.Seconds.Zip(candidates[0].Seconds, (a, b) => a / b));
            text.Append(CultureInfo.InvariantCulture, $"| {threads} | {c.Name} | {Machine.Median(c.Seconds) * 1e3:0.00} | {ratio:0.000} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Machine.Median(c.Bytes):#,0} | {c.Collections} |\n");
        }
    }

    private static void Step(Candidate candidate, bool isMeasured)
    {
        long bytes = GC.GetAllocatedBytesForCurrentThread();
        int collections = GC.CollectionCount(0);
        long start = Stopwatch.GetTimestamp();
        candidate.Loss = candidate.Step();
        TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
        if (isMeasured)
        {
            candidate.Seconds.Add(elapsed.TotalSeconds);
            candidate.Bytes.Add(GC.GetAllocatedBytesForCurrentThread() - bytes);
            candidate.Collections += GC.CollectionCount(0) - collections;
        }
    }
}
