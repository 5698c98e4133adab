using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using DeepSpeedSharp.Engine.Benchmarks;
using DeepSpeedSharp.Engine.Native;

TorchRuntime.Load();
if (args is ["cpu-adam", .. string[] rest])
{
    // Millions of values and rounds, for a quick look.
    long millions = rest.Length > 0 && long.TryParse(rest[0], out long m) ? m : 100;
    int rounds = rest.Length > 1 && int.TryParse(rest[1], out int r) ? r : 15;
    Console.WriteLine(new CpuAdamReport(millions * 1_000_000, rounds).Write(Path.Combine("benchmarks", "results")));
    return;
}

if (args is ["engine-step", .. string[] count])
{
    int rounds = count.Length > 0 && int.TryParse(count[0], out int r) ? r : 300;
    Console.WriteLine(new EngineStepReport(rounds).Write(Path.Combine("benchmarks", "results")));
    return;
}

if (args is ["checkpoint", .. string[] options])
{
    // Width and number of square layers, rounds, and a folder on the disk to measure.
    int Number(int index, int otherwise) => options.Length > index && int.TryParse(options[index], out int n) ? n : otherwise;
    string disk = options.Length > 3 ? options[3] : Path.GetTempPath();
    Console.WriteLine(new CheckpointReport(Number(0, 2048), Number(1, 8), Number(2, 11)).Write(Path.Combine("benchmarks", "results"), disk));
    return;
}

// In this process: libtorch is loaded once.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .WithArtifactsPath(Path.Combine("artifacts", "benchmarks"));
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
