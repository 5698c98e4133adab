using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary><c>deepspeed describe</c>: all that is known of one job.</summary>
internal static class DescribeCommand
{
    private const int MostEvents = 20;

    public static Command Create()
    {
        Argument<string> name = ClusterCommand.JobName();
        Option<bool> json = ClusterCommand.Json();
        return ClusterCommand.For(new Command("describe") { name, json }, (parsed, client) =>
            RunAsync(client, parsed.GetValue(name)!, parsed.GetValue(json)));
    }

    private static async Task<int> RunAsync(JobClient client, string name, bool json)
    {
        if (await client.FindAsync(name, CancellationToken.None) is not { } found)
        {
            return ClusterCommand.Missing(name, client);
        }

        if (json)
        {
            Console.Out.WriteLine(found.GetRawText());
            return ExitCodes.Done;
        }

        DeepSpeedJob job = DeepSpeedJob.Read(found);
        DeepSpeedJobStatus status = job.Status;
        Console.Out.WriteLine($"job {name} in namespace {client.Namespace}, {JobText.Age(found, TimeProvider.System.GetUtcNow())} old");
        Write(AlignedRows.Format(
        [
            ("phase", status.Phase ?? Phases.Pending),
            ("message", status.Message),
            ("nodes", status.WorldSize is { } ranks ? $"{status.NodesText} ready or done, {ranks} ranks" : null),
            ("master", status.MasterAddress),
            ("attempt", status.Attempt == 0 ? null : $"{status.Attempt}, after {status.Restarts} restarts and {status.Disruptions} disruptions"),
            ("progress", JobText.Progress(status.Progress)),
            ("image", job.Spec?.Image),
        ]));
        Section("failures, newest first", status.LastFailures?.Select(f => (IReadOnlyList<string>)[Ago(f.Time), JobText.Failure(f)]));
        Section("conditions", status.Conditions?.Where(c => c.Status == JobConditions.True || !string.IsNullOrEmpty(c.Message))
            .Select(c => (IReadOnlyList<string>)[Ago(c.LastTransitionTime), c.Type, c.Status, c.Reason, c.Message == status.Message ? "" : c.Message ?? ""]));
        Section("pods", (await client.PodsAsync(name, CancellationToken.None))
            .Select(p => (IReadOnlyList<string>)[p.Name, p.Phase, p.ClusterNode ?? ""]));
        Section("events", (await client.EventsAsync(name, CancellationToken.None)).TakeLast(MostEvents).Select(Event));
        return ExitCodes.Done;
    }

    private static IReadOnlyList<string> Event(JsonElement e) =>
    [
        DateTimeOffset.TryParse(JobText.Text(e, "lastTimestamp") ?? JobText.Text(e, "eventTime"), CultureInfo.InvariantCulture,
            out DateTimeOffset time) ? Ago(time) : "",
        JobText.Text(e, "type") ?? "", JobText.Text(e, "reason") ?? "", JobText.Text(e, "message") ?? "",
    ];

    private static string Ago(DateTimeOffset? time) => time is { } at ? $"{JobText.Duration(TimeProvider.System.GetUtcNow() - at)} ago" : "";

    private static void Section(string title, IEnumerable<IReadOnlyList<string>>? rows)
    {
        List<IReadOnlyList<string>> all = [.. rows ?? []];
        if (all.Count > 0)
        {
            Console.Out.WriteLine(title);
            Write(JobText.Table(all).Select(line => $"  {line}"));
        }
    }

    private static void Write(IEnumerable<string> lines)
    {
        foreach (string line in lines)
        {
            Console.Out.WriteLine(line);
        }
    }
}
