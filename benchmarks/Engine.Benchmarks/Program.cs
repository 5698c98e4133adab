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

if (args is ["disk", .. string[] place])
{
    // Folder on the disk, MiB and rounds.
    string folder = place.Length > 0 ? place[0] : Path.GetTempPath();
    long megabytes = place.Length > 1 && long.TryParse(place[1], out long m) ? m : 1024;
    int rounds = place.Length > 2 && int.TryParse(place[2], out int r) ? r : 5;
    Console.WriteLine(new DiskReport(folder, megabytes, rounds).Write(Path.Combine("benchmarks", "results")));
    return;
}

if (args is ["zero-memory"])
{
    Console.WriteLine(ZeroMemoryReport.Write(Path.Combine("docs", "zero-memory.md")));
    return;
}

// In this process: libtorch is loaded once.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .WithArtifactsPath(Path.Combine("artifacts", "benchmarks"));
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
