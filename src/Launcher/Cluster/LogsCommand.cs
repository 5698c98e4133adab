using System.CommandLine;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary><c>deepspeed logs</c>: what the nodes of a job print.</summary>
internal static class LogsCommand
{
    public static Command Create()
    {
        Argument<string> name = ClusterCommand.JobName();
        var follow = new Option<bool>("--follow", "-f") { Description = "Go on until the job ends, over restarts." };
        var node = new Option<int?>("--node") { HelpName = "N", Description = "Only this node (default: all of them)." };
        var attempt = new Option<int?>("--attempt") { HelpName = "N", Description = "Pods of this start of the job (default: the latest)." };
        var tail = new Option<int?>("--tail") { HelpName = "N", Description = "Only the last N lines of each node." };
        return ClusterCommand.For(new Command("logs") { name, follow, node, attempt, tail }, (parsed, client) => RunAsync(
            client, parsed.GetValue(name)!, parsed.GetValue(follow), parsed.GetValue(node), parsed.GetValue(attempt), parsed.GetValue(tail)));
    }

    private static async Task<int> RunAsync(JobClient client, string name, bool follow, int? node, int? attempt, int? tail)
    {
        if (await client.FindAsync(name, CancellationToken.None) is null)
        {
            return ClusterCommand.Missing(name, client);
        }

        RunConsole console = RunConsole.OfProcess();
        if (follow)
        {
            using var stop = new StopSignals();
            return await new JobFollower(client, name, console, new LogFollower(client, name, console, node, tail)).RunAsync(stop);
        }

        IReadOnlyList<PodLine> pods = await client.PodsAsync(name, CancellationToken.None);
        int wanted = attempt ?? pods.Select(pod => pod.Attempt).DefaultIfEmpty(0).Max();
        PodLine[] chosen = [.. pods.Where(pod => pod.Attempt == wanted && (node is null || pod.Node == node))];
        if (chosen.Length == 0)
        {
            console.Problem($"job {name} has no such pods; it has {(pods.Count == 0 ? "none now" : string.Join(", ", pods.Select(pod => pod.Name)))}");
            return ExitCodes.Configuration;
        }

        foreach (PodLine pod in chosen.Where(pod => pod.HasLog))
        {
            await new PodLog(client, pod.Name).ReadAsync(tail, line => console.Relay(LogFollower.LabelOf(pod), line), CancellationToken.None);
        }

        foreach (PodLine pod in chosen.Where(pod => !pod.HasLog))
        {
            console.Say($"{pod.Name} has no log yet ({pod.Phase})");
        }

        return ExitCodes.Done;
    }
}
