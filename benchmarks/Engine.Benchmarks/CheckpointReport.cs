using System.Diagnostics;
using System.Globalization;
using System.Text;
using DeepSpeedSharp.Checkpoints;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>Saving and loading a checkpoint of one rank against a plain copy of a file of the same size on the same disk, and how
/// long training stands for a save that is written behind.</summary>
/// <remarks>All of them in turn, round after round, so that whatever else the machine and its disk do meets all alike; medians, and
/// ratios within a round.</remarks>
/// <param name="width">Width of the square layers.</param>
/// <param name="layers">How many.</param>
/// <param name="rounds">Rounds.</param>
internal sealed class CheckpointReport(int width, int layers, int rounds)
{
    private const int CopyBytes = 16 << 20;

    private sealed class Stack : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Sequential _layers;

        public Stack(int width, int count)
            : base(nameof(Stack))
        {
            _layers = nn.Sequential(Enumerable.Range(0, count).Select(i => ($"layer{i}", (nn.Module<Tensor, Tensor>)nn.Linear(width, width))));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            using Tensor y = _layers.call(x);
            return y.pow(2).mean();
        }
    }

    /// <summary>Measures and writes a Markdown file.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="disk">Folder on the disk to measure; its files are removed afterwards.</param>
    /// <returns>Path of the result.</returns>
    public string Write(string folder, string disk)
    {
        string place = Directory.CreateDirectory(Path.Combine(disk, $"checkpoint-benchmark-{Environment.ProcessId}")).FullName;
        try
        {
            return Machine.Keep(folder, "checkpoint", Measure(place));
        }
        finally
        {
            Directory.Delete(place, recursive: true);
        }
    }

    private string Measure(string place)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""{"train_batch_size": 8, "optimizer": {"type": "AdamW", "params": {"lr": 0.001} } }""");
        var model = new Stack(width, layers);
        using ProcessGroup group = DeepSpeed.InitDistributed();
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, CPU, printsProgress: false);
        using (engine)
        using (Tensor x = randn(8, width))
        {
            Step(engine, model, x);
            string own = Path.Combine(place, "own");
            string first = engine.SaveCheckpoint(own, "first");
            long bytes = Directory.GetFiles(first).Sum(path => new FileInfo(path).Length);
            string source = Path.Combine(place, "source");
            string copied = Path.Combine(place, "copy");
            using (FileStream file = File.Create(source))
            {
                var block = new byte[CopyBytes];
                Random.Shared.NextBytes(block);
                for (long done = 0; done < bytes; done += block.Length)
                {
                    file.Write(block, 0, (int)Math.Min(block.Length, bytes - done));
                }
            }

            List<double> copy = [], read = [], save = [], load = [], verify = [], stall = [], behind = [], step = [], busyStep = [];
            for (int round = -1; round < rounds; round++)
            {
                bool counts = round >= 0;
                Time(copy, counts, () => Copy(source, copied));
                Time(read, counts, () => Read(source));
                Time(save, counts, () => engine.SaveCheckpoint(own, "sync"));
                Time(load, counts, () => engine.LoadCheckpoint(own, "sync"));
                Time(verify, counts, () =>
                {
                    CheckpointManifest manifest = CheckpointManifest.Read(Path.Combine(own, "sync"));
                    _ = CheckpointVerification.Problems(Path.Combine(own, "sync"), manifest, manifest.Files, Math.Min(4, Environment.ProcessorCount));
                });
                Time(step, counts, () => Step(engine, model, x));
                long start = Stopwatch.GetTimestamp();
                Time(stall, counts, () => engine.SaveCheckpoint(own, "behind", options: new SaveCheckpointOptions { Asynchronous = true }));
                Time(busyStep, counts, () => Step(engine, model, x));
                engine.FinishCheckpoint();
                if (counts)
                {
                    behind.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                }
            }

            return Report(engine.ParameterCount, bytes, copy, read, save, load, verify, stall, behind, step, busyStep);
        }
    }

    private string Report(long parameters, long bytes, List<double> copy, List<double> read, List<double> save, List<double> load, List<double> verify,
        List<double> stall, List<double> behind, List<double> step, List<double> busyStep)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# Checkpoints, {Machine.Headline}\n\n");
        text.Append(CultureInfo.InvariantCulture, $"{parameters / 1e6:0.0} million fp32 parameters with AdamW, {bytes / 1e9:0.000} GB in a checkpoint of one rank; {Machine.Versions}. ");
        text.Append(CultureInfo.InvariantCulture, $"Medians of {rounds} rounds of all lines in turn, ratios within a round; load average at the end {Machine.LoadAverage}: ");
        text.Append("the machine and its disk were shared.\n\n| | s | GB/s | of the plain way |\n| --- | ---: | ---: | ---: |\n");
        Row("copy of a file of that size, to the disk (fsync)", copy, copy);
        Row("save, to the disk", save, copy);
        Row("read of that file, from the page cache", read, read);
        Row("verify every byte, from the page cache", verify, read);
        Row("load (verify, then read), from the page cache", load, read);
        text.Append("\n| | s | of a save at once |\n| --- | ---: | ---: |\n");
        Stall("training stands for a save at once", save);
        Stall("training stands for a save behind", stall);
        Stall("until that one is complete, with one step of training meanwhile", behind);
        text.Append(CultureInfo.InvariantCulture, $"\nA step of training takes {Machine.Median(step) * 1e3:0} ms, and {Machine.Median(busyStep) * 1e3:0} ms ");
        text.Append(CultureInfo.InvariantCulture, $"while a checkpoint is written ({Machine.Median(busyStep.Zip(step, (a, b) => a / b)):0.00}x).\n");
        return text.ToString();

        void Row(string name, List<double> seconds, List<double> plain) => text.Append(CultureInfo.InvariantCulture,
            $"| {name} | {Machine.Median(seconds):0.00} | {bytes / 1e9 / Machine.Median(seconds):0.00} | {Machine.Median(plain.Zip(seconds, (p, s) => p / s)):0%} |\n");

        void Stall(string name, List<double> seconds) => text.Append(CultureInfo.InvariantCulture,
            $"| {name} | {Machine.Median(seconds):0.00} | {Machine.Median(seconds.Zip(save, (a, b) => a / b)):0%} |\n");
    }

    private static void Step(DeepSpeedEngine engine, Stack model, Tensor x)
    {
        using Tensor loss = engine.Forward(() => model.call(x));
        engine.Backward(loss);
        engine.Step();
    }

    private static void Time(List<double> seconds, bool counts, Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        if (counts)
        {
            seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
    }

    private static void Copy(string from, string to)
    {
        using FileStream source = File.OpenRead(from);
        using FileStream target = File.Create(to, CopyBytes);
        source.CopyTo(target, CopyBytes);
        target.Flush(flushToDisk: true);
    }

    private static void Read(string path)
    {
        using FileStream source = File.OpenRead(path);
        var block = new byte[CopyBytes];
        while (source.Read(block) > 0)
        {
        }
    }
}
