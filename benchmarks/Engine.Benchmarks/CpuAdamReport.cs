using System.Diagnostics;
using System.Globalization;
using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>One AdamW update on the CPU, against TorchSharp's and against the machine's memory bandwidth.</summary>
/// <remarks>
/// Rounds of all candidates in turn, so that whatever else the machine does meets all alike; medians of times, and of
/// ratios within a round. Not BenchmarkDotNet, which runs one candidate after the other.
/// </remarks>
internal sealed class CpuAdamReport(long elements, int rounds)
{
    private const int ManyTensors = 400;

    private sealed record Candidate(string Name, double BytesPerElement, Action Step)
    {
        public List<double> Seconds { get; } = [];
    }

    /// <summary>Measures and writes a Markdown file.</summary>
    /// <param name="folder">Where to.</param>
    /// <returns>Its path.</returns>
    public string Write(string folder)
    {
        using IDisposable noGrad = no_grad();
        using var buffers = new Buffers(elements);
        using var limits = new MemoryLimits(buffers.Gradients, buffers.First, buffers.Second);
        using CpuAdam own = buffers.Own();
        using CpuAdam ownMixed = buffers.Own();
        using Adam fused = buffers.Fused();
        using var one = new TorchSharpAdam(elements, 1);
        using var many = new TorchSharpAdam(elements, ManyTensors);
        Candidate[] candidates =
        [
            new("copy, 1 read and 1 write", 8, limits.Copy),
            new("triad, 2 reads and 1 write", 12, limits.Triad),
            new("as Adam: 4 reads and 3 writes in place, one addition each", 28, limits.LikeAdam),
            new("TorchSharp AdamW, one tensor", 28, one.Step),
            new($"TorchSharp AdamW, {ManyTensors} tensors", 28, many.Step),
            new("libtorch's fused kernel, flat", 28, () => fused.Step(buffers.Values, buffers.Gradients, default, null)),
            new("CpuAdam, flat (one tensor or many)", 28, () => own.Step(buffers.Values, buffers.Gradients, default, null)),
            new("CpuAdam, bf16 gradients and bf16 copy", 28, () => ownMixed.Step(buffers.Values, buffers.HalfGradients, default, buffers.HalfCopy)),
        ];
        for (int round = -1; round < rounds; round++)
        {
            foreach (Candidate candidate in candidates)
            {
                long start = Stopwatch.GetTimestamp();
                candidate.Step();
                if (round >= 0) // the first touches memory and compiles
                {
                    candidate.Seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                }
            }
        }

        return Machine.Keep(folder, "cpu-adam", Report(candidates));
    }

    private string Report(Candidate[] candidates)
    {
        Candidate limit = candidates[2], own = candidates[^2];
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# AdamW on the CPU, {Machine.Headline}\n\n");
        text.Append(CultureInfo.InvariantCulture, $"{elements / 1e6:0} million fp32 values; {Machine.Versions}, ");
        text.Append(CultureInfo.InvariantCulture, $"{get_num_threads()} threads. Medians of {rounds} rounds of all lines in turn, ratios within a ");
        text.Append("round; load average at the end ").Append(Machine.LoadAverage).Append(".\n\n");
        text.Append("| | ms | GB/s | CpuAdam is faster by | of the traffic's own pace |\n| --- | ---: | ---: | ---: | ---: |\n");
        foreach (Candidate c in candidates)
        {
            double seconds = Machine.Median(c.Seconds);
            text.Append(CultureInfo.InvariantCulture, $"| {c.Name} | {seconds * 1e3:0.0} | {c.BytesPerElement * elements / seconds / 1e9:0.0} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Machine.Median(c.Seconds.Zip(own.Seconds, (a, b) => a / b)):0.00}x ");
            text.Append(c.BytesPerElement == 28
                ? string.Create(CultureInfo.InvariantCulture, $"| {Machine.Median(c.Seconds.Zip(limit.Seconds, (a, b) => b / a)):0%} |\n") : "| |\n");
        }

        text.Append("\nGB/s count what the update has to move: 28 bytes per value (four reads, three writes of fp32; with 16-bit\n"
            + "gradients and copy 24 + 2 + 2). TorchSharp moves more, in temporaries. Copy and triad write to memory they have\n"
            + "not read, which the processor fetches first; that traffic is not counted.\n");
        return text.ToString();
    }

    private sealed class Buffers : IDisposable
    {
        private readonly IReadOnlyList<ParameterGroup> _groups;

        public Buffers(long elements)
        {
            _groups = [new ParameterGroup("all", new AdamParams { WeightDecay = 0.1 }, [new ParameterSlot("all", [elements], 0, elements)])];
            (Values, Gradients, First, Second) = (randn(elements), randn(elements), zeros(elements), zeros(elements));
            HalfGradients = Gradients.to(bfloat16);
            HalfCopy = zeros(elements, bfloat16);
        }

        public Tensor Values { get; }

        public Tensor Gradients { get; }

        public Tensor First { get; }

        public Tensor Second { get; }

        public Tensor HalfGradients { get; }

        public Tensor HalfCopy { get; }

        public CpuAdam Own() => new CpuAdam("AdamW", _groups, Values.numel());

        public Adam Fused() => new Adam("AdamW", _groups, Values.numel(), CPU);

        public void Dispose()
        {
            foreach (Tensor tensor in (Tensor[])[Values, Gradients, First, Second, HalfGradients, HalfCopy])
            {
                tensor.Dispose();
            }
        }
    }

    private sealed class TorchSharpAdam : IDisposable
    {
        private readonly TorchSharp.Modules.Parameter[] _parameters;
        private readonly TorchSharp.Modules.AdamW _optimizer;

        public TorchSharpAdam(long elements, int tensors)
        {
            _parameters = [.. Enumerable.Range(0, tensors).Select(_ =>
                new TorchSharp.Modules.Parameter(randn(elements / tensors)) { grad = randn(elements / tensors) })];
            _optimizer = optim.AdamW(_parameters, weight_decay: 0.1);
        }

        public void Step() => _optimizer.step();

        public void Dispose()
        {
            _optimizer.Dispose();
            Array.ForEach(_parameters, p => p.Dispose());
        }
    }
}
