using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Launcher.Launch;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary><c>deepspeed submit</c>: gives a job to a cluster and follows it to its end.</summary>
internal static class SubmitCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("JOB") { Description = "The DeepSpeedJob manifest, YAML or JSON." };
        UsageError.RefuseOptions(file);
        var detach = new Option<bool>("--detach", "-d") { Description = "Do not follow it." };
        var noLogs = new Option<bool>("--no-logs") { Description = "Show its progress instead of what its nodes print." };
        var json = new Option<bool>("--json") { Description = "With --detach: print the job as the API server has it, as JSON." };
        return ClusterCommand.For(new Command("submit") { file, detach, noLogs, json }, (parsed, client) => RunAsync(
            client, parsed.GetValue(file)!, parsed.GetValue(detach), !parsed.GetValue(noLogs), parsed.GetValue(json)));
    }

    private static async Task<int> RunAsync(JobClient client, string file, bool detach, bool showsLogs, bool json)
    {
        if (json && !detach)
        {
            throw Refusal.Option("--json", "a job that is followed prints lines", "add --detach");
        }

        DeepSpeedJobManifest manifest = DeepSpeedJobManifest.Load(file);
        JsonObject body = DeepSpeedJobManifest.ToObject(await File.ReadAllTextAsync(file));
        client = InNamespaceOf(client, (string?)body["metadata"]!["namespace"], file);
        using var stop = new StopSignals();
        if (await client.FindAsync(manifest.Name, CancellationToken.None) is { } before && DeepSpeedJob.Read(before).Status is { } status
            && status.IsFinished() && status.Condition(ConditionTypes.Failed)?.Reason != Reasons.InvalidSpec)
        {
            throw Refusal.Of(file, "metadata.name", $"a job {manifest.Name} has ended here before ({status.Phase})",
                $"run `deepspeed stop {manifest.Name} --delete` first, or use another name");
        }

        JsonElement applied = await client.ApplyAsync(manifest.Name, Body(body, client.Namespace), CancellationToken.None);
        if (json)
        {
            Console.Out.WriteLine(applied.GetRawText());
            return ExitCodes.Done;
        }

        RunConsole console = RunConsole.OfProcess();
        console.Say($"job {manifest.Name} is submitted to namespace {client.Namespace}"
            + (manifest.Spec.IsSuspended() ? "; it is suspended, and starts when spec.suspend is false" : ""));
        return detach || manifest.Spec.IsSuspended() ? ExitCodes.Done
            : await new JobFollower(client, manifest.Name, console,
                showsLogs ? new LogFollower(client, manifest.Name, console, null, null, onlyNew: true) : null).RunAsync(stop);
    }

    /// <summary>What is sent: no status, a namespace, and a word on suspension, so that a stopped job goes on.</summary>
    private static JsonObject Body(JsonObject manifest, string ns)
    {
        manifest.Remove("status");
        manifest["metadata"]!["namespace"] = ns;
        manifest["spec"]!["suspend"] ??= false;
        return manifest;
    }

    private static JobClient InNamespaceOf(JobClient client, string? stated, string file) =>
        stated is null || stated == client.Namespace ? client
        : client.IsNamespaceGiven ? throw Refusal.Of(file, "metadata.namespace", $"it is {stated}, and --namespace is {client.Namespace}",
            "remove one of the two")
        : client.In(stated);
}
