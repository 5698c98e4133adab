using System.CommandLine;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed report</c>: what this machine has for training.</summary>
internal static class ReportCommand
{
    // Below this, communication libraries run out of shared memory.
    private const long SmallSharedMemory = 512L << 20;

    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Print the report as JSON." };
        var command = new Command("report") { json };
        command.SetAction(parsed => Show(parsed.GetValue(json)));
        return command;
    }

    /// <summary>The rows of the report: a key for programs and what to show.</summary>
    /// <param name="gpus">Name and memory of each GPU.</param>
    /// <param name="environment">The environment.</param>
    public static IReadOnlyList<(string Name, string? Value)> Rows(
        IReadOnlyList<(string Name, ulong Memory)> gpus, IReadOnlyDictionary<string, string> environment)
    {
        string? searchPath = environment.GetValueOrDefault("PATH");
        long shared = SharedMemory();
        CoreTopology topology = CoreTopology.Read();
        return
        [
            ("deepspeed", Version()),
            (".NET", RuntimeInformation.FrameworkDescription),
            ("system", $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.OSArchitecture}"),
            ("processors", $"{Environment.ProcessorCount}; cores: {topology.Cores.Count}, NUMA nodes: {Math.Max(1, topology.NumaNodes.Count)}"),
            ("memory", Size(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)),
            ("/dev/shm", shared == 0 ? "not there; communication libraries need it"
                : Size(shared) + (shared < SmallSharedMemory ? "; less than 512 MiB is too little for communication libraries" : "")),
            ("GPUs", gpus.Count == 0 ? "none: there is no NVIDIA driver here that shows one, and training uses the processors"
                : string.Join(", ", gpus.Select((gpu, i) => $"{i}: {gpu.Name}, {Size((long)gpu.Memory)}"))),
            (LocalSlots.VisibleDevices, environment.GetValueOrDefault(LocalSlots.VisibleDevices)),
            ("libtorch", LibTorch(environment)
                ?? "not found beside this program or in LD_LIBRARY_PATH; a published worker brings its own"),
            ("launchers", Launchers(searchPath)),
        ];
    }

    private static int Show(bool json)
    {
        IReadOnlyList<(string Name, ulong Memory)> gpus = Nvml.Devices();
        IReadOnlyDictionary<string, string> environment = LocalMachine.Current().Environment;
        IReadOnlyList<(string Name, string? Value)> rows = Rows(gpus, environment);
        IReadOnlyList<GpuLink> links = GpuLink.ReadAll();
        if (json)
        {
            var report = new JsonObject(rows.Select(row => KeyValuePair.Create(row.Name, (JsonNode?)row.Value)))
            {
                ["GPU links"] = GpuTopology.ToJson(links),
                ["NCCL variables"] = new JsonObject(environment.Where(v => v.Key.StartsWith("NCCL_", StringComparison.Ordinal))
                    .OrderBy(v => v.Key, StringComparer.Ordinal).Select(v => KeyValuePair.Create(v.Key, (JsonNode?)v.Value))),
            };
            Console.Out.WriteLine(report.ToJsonString(Readable));
        }
        else
        {
            foreach (string line in AlignedRows.Format(rows).Concat(GpuTopology.Format(gpus.Count, links))
                .Append("NCCL variables:").Concat(AlignedRows.Format(NcclVariables.Rows(environment))))
            {
                Console.Out.WriteLine(line);
            }
        }

        return ExitCodes.Done;
    }

    private static string Version() =>
        typeof(ReportCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?
            .InformationalVersion.Split('+')[0] ?? "unknown";

    private static string Launchers(string? searchPath)
    {
        string[] programs = ["ssh", "pdsh", "mpirun", "srun", "numactl", "python3", "dotnet"];
        string[] found = [.. programs.Where(p => InstalledProgram.Find(p, searchPath) is not null)];
        return found.Length == 0 ? "none in PATH" : $"{string.Join(", ", found)} in PATH";
    }

    private static string? LibTorch(IReadOnlyDictionary<string, string> environment)
    {
        const string Library = "libtorch.so";
        IEnumerable<string> folders = (environment.GetValueOrDefault("LD_LIBRARY_PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        string own = AppContext.BaseDirectory;
        return folders.Concat([own, Path.Combine(own, "runtimes", "linux-x64", "native")])
            .Select(folder => Path.Combine(folder, Library)).FirstOrDefault(File.Exists);
    }

    private static long SharedMemory()
    {
        try
        {
            return Directory.Exists("/dev/shm") ? new DriveInfo("/dev/shm").TotalSize : 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return 0;
        }
    }

    private static string Size(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.0} GiB");
}
