using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary>What a run says before the ranks do.</summary>
internal static class RunHeader
{
    /// <summary>Writes what starts, and where its files are.</summary>
    public static void Write(LocalJob job, int attempt, int restarts, LocalPorts ports, RunConsole console)
    {
        (int nodes, int slots, int ranks) = (job.Spec.Pods(), job.Spec.PodSlots(), job.Spec.WorldSize());
        string device = job.Spec.Gpus() == 0 ? "CPU" : "GPU";
        console.Say($"job {job.Manifest.Name}, attempt {attempt}: {Count(nodes, "node")} x {Count(slots, "slot")} "
            + $"= {Count(ranks, "rank")} on this machine ({device})");
        foreach (string note in ports.Notes)
        {
            console.Say(note);
        }

        if (restarts > 0)
        {
            return;
        }

        string config = job.Config is not { } text ? "none; the program brings its own"
            : $"{RunFolder.Show(job.ConfigFile(attempt))}: {Batch(ConfigReport.ForJob(text, ranks))}";
        foreach (string line in AlignedRows.Format(
        [
            ("config", config),
            ("checkpoints", job.CheckpointFolder is { } kept ? RunFolder.Show(kept) : "none; a restart begins anew"),
            ("logs", RunFolder.Show(job.Folder.Attempt(attempt))),
        ]))
        {
            console.Detail(line);
        }
    }

    private static string Batch(ConfigReport report) =>
        report.Batch is { } batch ? ConfigText.Describe(batch) : "the program's arguments give the batch sizes";

    private static string Count(int count, string thing) => count == 1 ? $"1 {thing}" : $"{count} {thing}s";
}
