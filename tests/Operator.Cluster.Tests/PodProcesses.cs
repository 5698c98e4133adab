using System.Globalization;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The processes of pods, as this machine sees them: a container's first process is safe from signals of its own
/// namespace, so they are sent from outside.</summary>
internal static class PodProcesses
{
    /// <summary>The worker of a pod with one rank: not the init that started it, whose command line names it too.</summary>
    public static async Task<int> WorkerAsync(Job job, string pod)
    {
        string uid = await job.PodFieldAsync(pod, ".metadata.uid");
        int[] workers = [.. Of(uid).Where(id => Read($"/proc/{id}/cmdline").Split('\0')[0].EndsWith("/deepspeed-worker", StringComparison.Ordinal))];
        Assert.True(workers.Length > 0, $"no worker process of {pod} on this machine");
        return workers[0];
    }

    /// <summary>All processes of a pod, on whichever node.</summary>
    /// <param name="uid">UID of the pod.</param>
    public static IReadOnlyList<int> Of(string uid) =>
    [
        .. Directory.GetDirectories("/proc").Select(folder => Path.GetFileName(folder))
            .Where(name => int.TryParse(name, out _) && Read($"/proc/{name}/cgroup").Contains(uid, StringComparison.Ordinal))
            .Select(name => int.Parse(name, CultureInfo.InvariantCulture)),
    ];

    /// <summary>Sends a signal.</summary>
    public static async Task SendAsync(string signal, int process)
    {
        ShellResult sent = await Shell.RunAsync("kill", [$"-{signal}", process.ToString(CultureInfo.InvariantCulture)], TimeSpan.FromSeconds(10));
        Assert.True(sent.ExitCode == 0, sent.All);
    }

    private static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ""; // the process has ended in the meantime
        }
    }
}
