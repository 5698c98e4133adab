using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Bench;

/// <summary><c>bench-comm</c>: one rank of <c>deepspeed bench comm</c>.</summary>
internal static class BenchCommCommand
{
    private static readonly Dictionary<string, ScalarType> Types = new()
    {
        ["float"] = ScalarType.Float32,
        ["double"] = ScalarType.Float64,
        ["half"] = ScalarType.Float16,
        ["bfloat16"] = ScalarType.BFloat16,
        ["int32"] = ScalarType.Int32,
        ["int64"] = ScalarType.Int64,
        ["uint8"] = ScalarType.Byte,
    };

    public static Command Create(Func<Func<WorkerEnvironment, int>, int> run)
    {
        var backend = new Option<string>("--backend") { DefaultValueFactory = _ => "shm" };
        var operations = new Option<string[]>("--op") { AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [.. CommBenchmark.Operations] };
        operations.AcceptOnlyFromAmong([.. CommBenchmark.Operations]);
        var min = new Option<long>("--min-bytes") { DefaultValueFactory = _ => 1024 };
        var max = new Option<long>("--max-bytes") { DefaultValueFactory = _ => 64 << 20 };
        var factor = new Option<int>("--factor") { DefaultValueFactory = _ => 4 };
        var type = new Option<string>("--dtype") { DefaultValueFactory = _ => "float" };
        type.AcceptOnlyFromAmong([.. Types.Keys]);
        var iterations = new Option<int?>("--iterations");
        var json = new Option<bool>("--json");
        var command = new Command("bench-comm", "Measures collectives; started by deepspeed bench comm, once per rank.")
        {
            backend, operations, min, max, factor, type, iterations, json,
        };
        command.SetAction(parsed => run(place => Run(place, new BenchOptions
        {
            Backend = parsed.GetValue(backend)!,
            Operations = parsed.GetValue(operations)!,
            MinBytes = Math.Max(1, parsed.GetValue(min)),
            MaxBytes = parsed.GetValue(max),
            Factor = Math.Max(2, parsed.GetValue(factor)),
            Type = Types[parsed.GetValue(type)!],
            Iterations = parsed.GetValue(iterations),
            Json = parsed.GetValue(json),
        })));
        return command;
    }

    private static int Run(WorkerEnvironment place, BenchOptions options)
    {
        Signals.EndWithParent();
        bool isNccl = options.Backend == "nccl";
        using ProcessGroup group = DeepSpeed.InitDistributed(place, distBackend: isNccl ? "nccl" : "host", verbose: false);
        Device device = isNccl ? DeepSpeed.LocalDevice(place) : CPU;
        long wrong = new CommBenchmark(group, options, device, Console.WriteLine).Run();
        if (wrong > 0)
        {
            Console.Error.WriteLine($"rank {place.Rank}: {wrong} elements have a wrong value");
        }

        return wrong > 0 ? ExitCodes.Internal : ExitCodes.Done;
    }
}
