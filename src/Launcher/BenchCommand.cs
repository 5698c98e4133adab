using System.CommandLine;
using System.Globalization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed bench comm</c>: measures the collectives between ranks on this machine.</summary>
/// <remarks>The ranks are processes of the worker, as in training; this program itself never loads libtorch.</remarks>
internal static class BenchCommand
{
    public static Command Create()
    {
        string[] backends = ["shm", "tcp", BenchOptions.Nccl];
        string[] operations = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "all_to_all", "send_recv"];
        string[] types = ["float", "double", "half", "bfloat16", "int32", "int64", "uint8"];
        var backend = new Option<string[]>("--backend") { HelpName = "NAME", AllowMultipleArgumentsPerToken = true, Description = "shm (shared memory), tcp, or nccl (GPUs); several are measured one after the other. Default: shm tcp." };
        backend.AcceptOnlyFromAmong(backends);
        var op = new Option<string[]>("--op") { HelpName = "NAME", AllowMultipleArgumentsPerToken = true, Description = $"Which collectives: {string.Join(", ", operations)}. Default: all_reduce." };
        op.AcceptOnlyFromAmong([.. operations, "all"]);
        Option<int?> ranks = Positive("--ranks", "Number of ranks. Default: 2; with nccl one for each GPU.");
        Option<int?> minBytes = Positive("--min-bytes", "Smallest message. Default: 1024.");
        Option<int?> maxBytes = Positive("--max-bytes", "Largest message. Default: 67108864.");
        Option<int?> factor = Positive("--factor", "How much larger each message is than the one before. Default: 4.");
        Option<int?> iterations = Positive("--iterations", "Calls that are measured. Default: 200 for small messages, 10 for large ones.");
        var type = new Option<string>("--dtype") { HelpName = "TYPE", DefaultValueFactory = _ => "float", Description = $"Element type: {string.Join(", ", types)}." };
        type.AcceptOnlyFromAmong(types);
        var share = new Option<bool>("--share-gpus") { Description = "With nccl, let ranks share a GPU: a test of function, not of speed." };
        var json = new Option<bool>("--json") { Description = "Print a JSON object for each line of the table." };
        var worker = new Option<string?>("--worker") { HelpName = "PATH", Description = $"The worker's program. Default: ${WorkerProgram.Variable}, else {WorkerProgram.Name} beside this program." };
        var comm = new Command("comm", "Measure collectives between ranks on this machine, and check their values.")
        {
            backend, op, ranks, minBytes, maxBytes, factor, type, iterations, share, json, worker,
        };
        comm.SetAction((parsed, _) =>
        {
            string[] chosen = parsed.GetValue(op) is { Length: > 0 } named ? named.Contains("all") ? operations : named : ["all_reduce"];
            List<string> arguments = ["--op", .. chosen, "--dtype", parsed.GetValue(type)!];
            foreach ((string name, int? value) in new[] { ("--min-bytes", parsed.GetValue(minBytes)), ("--max-bytes", parsed.GetValue(maxBytes)),
                ("--factor", parsed.GetValue(factor)), ("--iterations", parsed.GetValue(iterations)) })
            {
                if (value is { } number)
                {
                    arguments.AddRange([name, number.ToString(CultureInfo.InvariantCulture)]);
                }
            }

            if (parsed.GetValue(json))
            {
                arguments.Add("--json");
            }

            var options = new BenchOptions(parsed.GetValue(backend) is { Length: > 0 } some ? some : ["shm", "tcp"],
                parsed.GetValue(ranks), parsed.GetValue(share), arguments);
            return RunAsync(options, parsed.GetValue(worker));
        });
        return new Command("bench", "Measure parts of this machine.") { comm };
    }

    private static async Task<int> RunAsync(BenchOptions options, string? worker)
    {
        LocalMachine machine = LocalMachine.Current();
        string program = WorkerProgram.Find(worker, machine.Environment.GetValueOrDefault(WorkerProgram.Variable), AppContext.BaseDirectory);
        int gpus = Nvml.DeviceCount();
        // All is checked before the first is measured.
        (string Backend, int Ranks)[] runs = [.. options.Backends.Select(backend => (backend, options.RanksFor(backend, gpus)))];
        foreach ((string backend, int ranks) in runs)
        {
            int code = await RunAsync(program, backend, ranks, gpus, options, machine);
            if (code != ExitCodes.Done)
            {
                return code;
            }
        }

        return ExitCodes.Done;
    }

    private static async Task<int> RunAsync(string program, string backend, int ranks, int gpus, BenchOptions options, LocalMachine machine)
    {
        RunConsole console = RunConsole.OfProcess();
        int port = LocalPorts.Any();
        using var stop = new StopSignals();
        using ChildGuard guard = ChildGuard.Start(NodeRun.Grace);
        var processes = new List<NodeProcess>();
        for (int rank = 0; rank < ranks; rank++)
        {
            IReadOnlyList<KeyValuePair<string, string>> place =
            [
                .. new WorkerEnvironment { Rank = rank, LocalRank = rank, WorldSize = ranks, LocalWorldSize = ranks, MasterPort = port }.ToVariables(),
                .. BenchOptions.Variables(backend, rank, ranks, gpus, machine.Cores),
            ];
            Dictionary<string, string> all = machine.Environment.ToDictionary();
            foreach ((string name, string value) in place)
            {
                all[name] = value;
            }

            IReadOnlyList<string> line = [program, "bench-comm", "--backend", backend, .. options.WorkerArguments];
            var node = new LaunchNode(rank, $"rank {rank}", $"rank {rank}", line, place, all);
            // The table comes from rank 0, and is shown as it is.
            processes.Add(NodeProcess.Start(node, program, null, rank == 0 ? new RunConsole(TextWriter.Null, Console.Error, colours: false) : console, guard,
                onLine: rank == 0 ? Console.Out.WriteLine : null));
        }

        AttemptEnd end = await new Attempt(processes, NodeRun.Grace, stop, console).RunAsync();
        return end.Failed is { } failed ? await failed.Exit : end.IsStopped ? ExitCodes.Stopped : ExitCodes.Done;
    }

    private static Option<int?> Positive(string name, string description)
    {
        var option = new Option<int?>(name) { HelpName = "N", Description = description };
        option.Validators.Add(r =>
        {
            if (r.GetValueOrDefault<int?>() is < 1)
            {
                r.AddError($"{name} must be at least 1");
            }
        });
        return option;
    }
}
