using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary>Runs a job to its end: attempt after attempt, as the manifest's restart rules say.</summary>
/// <param name="job">The job.</param>
/// <param name="console">Where to report.</param>
internal sealed class JobRun(LocalJob job, RunConsole console)
{
    /// <summary>Runs the job.</summary>
    /// <returns>The launcher's exit code: 0, that of the failure, or that of the signal.</returns>
    public async Task<int> RunAsync()
    {
        using IDisposable taken = job.Folder.Open();
        using var stop = new StopSignals();
        var grace = TimeSpan.FromSeconds(job.Spec.GracePeriodSeconds());
        var allowed = new Restarts(job.Spec.MaxRestarts(), "restart.maxRestarts", console);
        using ChildGuard guard = ChildGuard.Start(grace);
        for (int restarts = 0; ; restarts++)
        {
            int number = job.Folder.LastAttempt() + 1;
            IReadOnlyList<NodeProcess> nodes = Start(number, restarts, guard);
            AttemptEnd end = await new Attempt(nodes, grace, stop, console).RunAsync();
            if (end.Failed is not { } failed)
            {
                string state = end.IsStopped ? $"stopped by {stop.Name}" : "complete";
                RunSummary.Write(job, number, restarts, state, console);
                return end.IsStopped ? stop.ExitCode : ExitCodes.Done;
            }

            int exitCode = await failed.Exit;
            if (!await allowed.MayAsync(exitCode, restarts, stop))
            {
                string state = $"failed: {failed.Node.FullName}, {ExitCodeText.Describe(exitCode)}";
                RunSummary.Write(job, number, restarts, state, console);
                return exitCode;
            }
        }
    }

    private List<NodeProcess> Start(int number, int restarts, ChildGuard guard)
    {
        LocalPorts ports = LocalPorts.Find(job.Spec.Pods(), job.Spec.MetricsPort());
        LaunchPlan plan = job.Plan(number, restarts, ports);
        string[] programs = [.. plan.Nodes.Select(node => job.Worker
            ?? WorkerProgram.Resolve(node.CommandLine[0], node.Environment.GetValueOrDefault("PATH")))];
        job.WriteFiles(number, plan);
        RunHeader.Write(job, number, restarts, ports, console);

        var nodes = new List<NodeProcess>();
        try
        {
            foreach ((LaunchNode node, string program) in plan.Nodes.Zip(programs))
            {
                string log = Path.Combine(job.Folder.Attempt(number), $"node-{node.Index}.log");
                nodes.Add(NodeProcess.Start(node, program, log, console, guard));
            }

            return nodes;
        }
        catch
        {
            nodes.ForEach(node => node.Kill());
            throw;
        }
    }
}
