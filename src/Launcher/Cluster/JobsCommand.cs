using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary><c>deepspeed jobs</c>: the jobs of a cluster, one a line.</summary>
internal static class JobsCommand
{
    public static Command Create()
    {
        var everywhere = new Option<bool>("--all-namespaces", "-A") { Description = "Those of every namespace." };
        Option<bool> json = ClusterCommand.Json();
        return ClusterCommand.For(new Command("jobs") { everywhere, json }, (parsed, client) =>
            RunAsync(client, parsed.GetValue(everywhere), parsed.GetValue(json)));
    }

    private static async Task<int> RunAsync(JobClient client, bool everywhere, bool json)
    {
        IReadOnlyList<JsonElement> jobs = await client.ListAsync(everywhere, CancellationToken.None);
        if (json)
        {
            Console.Out.WriteLine($"[{string.Join(",\n", jobs.Select(job => job.GetRawText()))}]");
            return ExitCodes.Done;
        }

        if (jobs.Count == 0)
        {
            Console.Out.WriteLine(everywhere ? "no jobs" : $"no jobs in namespace {client.Namespace}; -A lists those of all");
            return ExitCodes.Done;
        }

        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        List<IReadOnlyList<string>> rows = [Row(everywhere, "NAMESPACE", "NAME", "PHASE", "NODES", "STEP", "LOSS", "RESTARTS", "AGE")];
        rows.AddRange(jobs.Select(job => Row(job, everywhere, now)));
        foreach (string line in JobText.Table(rows))
        {
            Console.Out.WriteLine(line);
        }

        return ExitCodes.Done;
    }

    private static string[] Row(JsonElement element, bool everywhere, DateTimeOffset now)
    {
        DeepSpeedJob job = DeepSpeedJob.Read(element);
        DeepSpeedJobStatus status = job.Status;
        string step = status.Progress?.Step is not { } done ? ""
            : status.Progress.TotalSteps is { } total ? $"{done}/{total}" : done.ToString(CultureInfo.InvariantCulture);
        return Row(everywhere, job.Metadata.NamespaceProperty ?? "", job.Metadata.Name ?? "", status.Phase ?? Phases.Pending,
            status.NodesText ?? "", step, status.Progress?.Loss ?? "", $"{status.Restarts}", JobText.Age(element, now));
    }

    private static string[] Row(bool everywhere, string ns, params string[] cells) => everywhere ? [ns, .. cells] : cells;
}
