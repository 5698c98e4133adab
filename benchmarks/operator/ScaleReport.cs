using System.Globalization;
using System.Text;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>The page of results.</summary>
internal static class ScaleReport
{
    private const string Reconcile = "controller_runtime_reconcile_time_seconds";
    private const string Decision = "deepspeedjob_decision_seconds";

    public static string Write(IReadOnlyList<ScaleResult> results, ScaleOptions options)
    {
        var page = new StringBuilder();
        page.AppendLine(Invariant($"""
            # The operator at scale

            A real `kube-apiserver` ({options.KubernetesVersion}) and `etcd` on this machine, files in memory; no scheduler, no kubelet: the benchmark
            gives each pod a machine and says that it runs, as fast as it can. All programs share {Environment.ProcessorCount} cores
            ({Machine()}), load average before {options.LoadBefore}, {DateTime.Today:yyyy-MM-dd}. The operator runs as in its image, with
            `--qps {options.RequestsPerSecond} --burst {2 * options.RequestsPerSecond}`; writes are counted in the API server's audit log.
            `benchmarks/operator/scale.sh {options.Size}`

            | | {string.Join(" | ", results.Select(r => Invariant($"{r.Case.Jobs:N0} jobs x {r.Case.Nodes} pods")))} |
            | --- |{string.Concat(results.Select(_ => " ---: |"))}
            """));
        Row("jobs created (benchmark), s", r => Invariant($"{r.JobsCreated.TotalSeconds:0.0}"));
        Row("all pods created, s", r => Invariant($"{r.PodsCreated.TotalSeconds:0.0}"));
        Row("pods created per second", r => Invariant($"{r.Case.Pods / r.PodsCreated.TotalSeconds:0}"));
        Row("least time by the request limit, s", r => Invariant($"{r.Writes.All / (double)options.RequestsPerSecond:0.0}"));
        Row("all pods running (benchmark), s", r => Invariant($"{r.PodsFaked.TotalSeconds:0.0}"));
        Row("all jobs Running, s", r => Invariant($"{r.AllRunning.TotalSeconds:0.0}"));
        Row("last pod running to last job Running, s", r => Invariant($"{(r.AllRunning - r.PodsFaked).TotalSeconds:0.00}"));
        Row("faker: pod seen to pod running, median / p99, ms", r => Milliseconds(r.FakerLag));
        Row("faker: one request, median / p99, ms", r => Milliseconds(r.Request));
        Row("API writes per job, all", r => Invariant($"{(double)r.Writes.All / r.Case.Jobs:0.0}"));
        Row("**API writes per job beyond its pods**", r => Invariant($"**{(double)r.Writes.BeyondPods / r.Case.Jobs:0.0}**"));
        Row("refused writes (conflicts), all", r => Invariant($"{r.Writes.Refused}"));
        Row("operator: processor time, s", r => Invariant($"{(r.AtRunning.Cpu - r.Start.Cpu).TotalSeconds:0.0}"));
        Row("operator: processor time per pod, ms", r => Invariant($"{(r.AtRunning.Cpu - r.Start.Cpu).TotalMilliseconds / r.Case.Pods:0.00}"));
        Row("operator: memory at start, MiB", r => Invariant($"{r.Start.MemoryMiB:0}"));
        Row("operator: peak memory (VmHWM), MiB", r => Invariant($"{r.AtRunning.PeakMiB:0}"));
        Row("passes", r => Invariant($"{r.Numbers.Sum("controller_runtime_reconcile_total"):0}"));
        Row("decision, median / p99, ms", r => Percentiles(r, Decision));
        Row("whole pass with the API server and the request limit, median / p99, ms", r => Percentiles(r, Reconcile));
        foreach (ScaleResult more in results.Where(r => r.Case.IdleSeconds > 0))
        {
            page.AppendLine(Invariant($"\nWith {more.Case.AllPods:N0} pods: peak memory **{more.AtAllPods.PeakMiB:0} MiB**, resident {more.AtAllPods.MemoryMiB:0} MiB."));
            page.AppendLine(Invariant($"Then {more.Case.IdleSeconds} s in which nothing happens: {more.IdleWrites} writes, {more.IdleCpu.TotalSeconds:0.00} s processor time."));
            page.AppendLine(Invariant($"The operator is killed and another one started: its caches are filled after {more.RestartReady.TotalSeconds:0.0} s; after {more.Case.IdleSeconds} s it has written {more.RestartWrites} times, taken {more.AfterRestart.Cpu.TotalSeconds:0.0} s processor time and {more.AfterRestart.PeakMiB:0} MiB at most."));
        }

        foreach (ScaleResult plain in results.Where(r => r.PlainPodsPerSecond > 0))
        {
            page.AppendLine(Invariant($"\nWhat this API server takes: {plain.PlainPodsPerSecond:0} pods per second, created by a plain client with 50 requests at a time, with nothing else running."));
        }

        page.AppendLine("\nWrites per job: " + string.Join("; ", results.Select(r => Invariant($"{r.Case.Jobs:N0} x {r.Case.Nodes}: {r.Writes.PerJob(r.Case.Jobs)}"))) + ".");
        page.Append(Peers);
        return page.ToString();

        void Row(string name, Func<ScaleResult, string> value) => page.AppendLine($"| {name} | {string.Join(" | ", results.Select(value))} |");
    }

    // Other machines, other versions, other work: for orientation, not a comparison under equal conditions.
    private const string Peers = """

        ## Published figures of others

        Other clusters and other work; for orientation only.

        | What | Figure | Source |
        | --- | --- | --- |
        | KubeRay: 100 / 1,000 / 5,000 / 10,000 RayJobs to their end | 674 / 917 / 2,733 / 5,735 s | KubeRay performance results v1.1.1, created at 100 requests/s on GKE |
        | KubeRay: 1,000 / 10,000 RayClusters ready | 258 / 1,515 s | the same |
        | Kueue: 15,000 workloads through 30 queues | 351 s | Kueue test/performance, baseline of its CI |
        | kwok: nodes or pods made per second | 20 | kwok README |
        | GKE: 50,000 pods of a training job created | under 2 min | Google Cloud blog on 65,000 nodes |
        | Request limits: client-go / MPI Operator / Trainer / KubeRay / Kueue / JobSet | 5 / 5 / 50 / 100 / 300 / 500 per s | their charts and flags |

        """;

    private static string Percentiles(ScaleResult r, string name) =>
        Invariant($"{r.Numbers.Percentile(name, 0.5) * 1000:0.0} / {r.Numbers.Percentile(name, 0.99) * 1000:0.0}");

    private static string Milliseconds((TimeSpan Median, TimeSpan P99) times) =>
        Invariant($"{times.Median.TotalMilliseconds:0} / {times.P99.TotalMilliseconds:0}");

    private static string Machine() => File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))
        ?.Split(':')[1].Trim() ?? "unknown processor";

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
