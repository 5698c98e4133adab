using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed run</c>: runs a DeepSpeedJob on this machine, without a cluster.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("JOB") { Description = "The DeepSpeedJob manifest, YAML or JSON." };
        UsageError.RefuseOptions(file);
        var runDir = new Option<string>("--run-dir")
        {
            Description = "Folder for logs, and for the volumes and ConfigMaps of a cluster.",
            HelpName = "FOLDER",
            DefaultValueFactory = _ => "runs",
        };
        var worker = new Option<string?>("--worker")
        {
            Description = "The worker's program. "
                + $"Default: ${WorkerProgram.Variable}, else {WorkerProgram.Name} beside this program.",
            HelpName = "PATH",
        };
        var dryRun = new Option<bool>("--dry-run") { Description = "Print what would be started, and start nothing." };
        var command = new Command("run")
        {
            file, runDir, worker, dryRun,
        };
        command.SetAction((parsed, _) => RunAsync(parsed.GetValue(file)!,
            parsed.GetValue(runDir)!, parsed.GetValue(worker), parsed.GetValue(dryRun)));
        return command;
    }

    private static async Task<int> RunAsync(string file, string runDir, string? worker, bool dryRun)
    {
        DeepSpeedJobManifest manifest = DeepSpeedJobManifest.Load(file);
        RunConsole console = RunConsole.OfProcess();
        if (manifest.Spec.IsSuspended())
        {
            console.Say($"job {manifest.Name} is suspended; set spec.suspend to false to run it");
            return ExitCodes.Done;
        }

        if (ClusterOnly.Fields(manifest.Spec) is { Count: > 0 } fields)
        {
            console.Say($"without effect on this machine: {string.Join(", ", fields)}");
        }

        LocalJob job = LocalJob.Prepare(manifest, file, new RunFolder(runDir, manifest.Name), worker);
        if (!dryRun)
        {
            return await new JobRun(job, console).RunAsync();
        }

        int attempt = job.Folder.LastAttempt() + 1;
        LocalPorts ports = LocalPorts.Find(manifest.Spec.Pods(), manifest.Spec.MetricsPort());
        RunHeader.Write(job, attempt, restarts: 0, ports, console);
        PlanText.Write(job.Plan(attempt, restarts: 0, ports), Console.Out);
        return ExitCodes.Done;
    }
}
