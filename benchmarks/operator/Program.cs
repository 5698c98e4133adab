using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Operator.Benchmarks;

// scale SIZE RESULT.md OPERATOR KUBERNETES-PROGRAMS CRD.yaml FOLDER: see scale.sh.
if (args is not [var size, var result, var program, var kubernetes, var definition, var folder])
{
    Console.Error.WriteLine("run benchmarks/operator/scale.sh");
    return 64;
}

var options = new ScaleOptions(size, program, kubernetes, definition, folder)
{
    KubernetesVersion = await VersionAsync(Path.Combine(kubernetes, "kube-apiserver")),
    LoadBefore = File.ReadAllText("/proc/loadavg").Split(' ')[0],
};
ScaleCase[] cases = size switch
{
    "full" => [new(1000, 8, MoreJobs: 250, IdleSeconds: 30, PlainPods: 2000), new(100, 256, 0, 0, 0)],
    "small" => [new(100, 8, MoreJobs: 25, IdleSeconds: 10, PlainPods: 500), new(10, 256, 0, 0, 0)],
    "memory" => [new(1250, 8, 0, IdleSeconds: 15, 0)],
    "gangs" => [new(100, 256, 0, 0, 0)],
    "smoke" => [new(20, 8, 0, IdleSeconds: 15, 0)],
    _ => throw new ArgumentException($"no such size: {size}; use full, small, memory, gangs or smoke"),
};
var results = new List<ScaleResult>();
var clock = Stopwatch.StartNew();
foreach (ScaleCase scale in cases)
{
    results.Add(await ScaleRun.RunAsync(scale, options));
}

string page = ScaleReport.Write(results, options);
await File.WriteAllTextAsync(result, page);
Console.WriteLine(page);
Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{clock.Elapsed.TotalSeconds:0} s in all; {result}"));
return 0;

static async Task<string> VersionAsync(string program)
{
    using Process process = Process.Start(new ProcessStartInfo(program, "--version") { RedirectStandardOutput = true })!;
    return (await process.StandardOutput.ReadToEndAsync()).Trim();
}

namespace DeepSpeedSharp.Operator.Benchmarks
{
    /// <summary>How to run.</summary>
    /// <param name="Size">full or small.</param>
    /// <param name="Operator">The operator's program.</param>
    /// <param name="Kubernetes">Folder with kube-apiserver.</param>
    /// <param name="Definition">The CRD.</param>
    /// <param name="Folder">Folder for everything that is made; in memory.</param>
    internal sealed record ScaleOptions(string Size, string Operator, string Kubernetes, string Definition, string Folder)
    {
        public string KubernetesVersion { get; init; } = "";

        public string LoadBefore { get; init; } = "";

        /// <summary>The operator's limit, as large clusters set it; see docs/operations.md.</summary>
        public int RequestsPerSecond { get; init; } = 200;
    }
}
