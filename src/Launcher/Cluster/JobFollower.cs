using System.Diagnostics;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>Tells what a job does until it ends. The job itself never depends on it.</summary>
/// <param name="client">The cluster.</param>
/// <param name="name">Name of the job.</param>
/// <param name="console">Where to tell.</param>
/// <param name="logs">Shows what its pods print; null to show progress instead.</param>
internal sealed class JobFollower(JobClient client, string name, RunConsole console, LogFollower? logs)
{
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestOutage = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan OperatorIsLate = TimeSpan.FromSeconds(20);

    private readonly long _begin = Stopwatch.GetTimestamp();
    private long? _outage;
    private string _state = "";
    private string? _progress;
    private DateTimeOffset? _newestFailure;
    private bool _isWarned;

    /// <summary>Follows the job.</summary>
    /// <param name="stop">Ctrl-C leaves the job alone.</param>
    /// <returns>0 when the job completed, else the exit code of its failure; <see cref="ExitCodes.Stopped"/> when somebody
    /// stopped it.</returns>
    public async Task<int> RunAsync(StopSignals stop)
    {
        using var cancel = new CancellationTokenSource();
        while (!stop.IsRequested)
        {
            try
            {
                int? exitCode = await LookAsync(cancel.Token);
                _outage = null;
                if (exitCode is { } code)
                {
                    await cancel.CancelAsync();
                    return code;
                }
            }
            catch (Exception e) when (ClusterCommand.IsOutage(e))
            {
                if (!MayGoOn(e))
                {
                    return ExitCodes.Temporary;
                }
            }

            await Task.WhenAny(Task.Delay(Poll), stop.Requested);
        }

        await cancel.CancelAsync();
        console.Say($"{stop.Name}: job {name} goes on without this command");
        Hints();
        return stop.ExitCode;
    }

    // The exit code, once there is one.
    private async Task<int?> LookAsync(CancellationToken cancel)
    {
        if (await client.FindAsync(name, cancel) is not { } found)
        {
            console.Problem($"job {name} was deleted");
            return ExitCodes.Stopped;
        }

        DeepSpeedJob job = DeepSpeedJob.Read(found);
        DeepSpeedJobStatus status = job.Status;
        Tell(status);
        if (logs is not null)
        {
            await logs.LookAsync(cancel);
        }

        // A status that speaks of an earlier spec says nothing of what was submitted now.
        if (status.ObservedGeneration is null || status.ObservedGeneration < (job.Metadata.Generation ?? 0))
        {
            WarnWithoutOperator(status);
            return null;
        }

        if (!status.IsFinished() && status.Phase != Phases.Suspended)
        {
            return null;
        }

        await (logs?.FinishAsync() ?? Task.CompletedTask);
        return End(status);
    }

    private void Tell(DeepSpeedJobStatus status)
    {
        string message = string.IsNullOrEmpty(status.Message) ? "" : $": {status.Message}";
        string attempt = status.Attempt > 1 ? $" (attempt {status.Attempt})" : "";
        string state = $"{status.Phase ?? Phases.Pending}{attempt}{message}";
        bool isOver = status.Phase is Phases.Complete or Phases.Failed; // then the last line says it all
        if (state != _state && !isOver)
        {
            console.Say($"job {name} {state}");
            _state = state;
        }

        foreach (JobFailure failure in (status.LastFailures ?? []).Where(f => _newestFailure is null || f.Time > _newestFailure).Reverse())
        {
            if (string.IsNullOrEmpty(failure.Message) || status.Message?.Contains(failure.Message, StringComparison.OrdinalIgnoreCase) != true)
            {
                console.Problem(JobText.Failure(failure));
            }

            _newestFailure = failure.Time;
        }

        if (logs is null && JobText.Progress(status.Progress) is { } progress && progress != _progress)
        {
            console.Say(progress);
            _progress = progress;
        }
    }

    private int End(DeepSpeedJobStatus status)
    {
        if (status.Is(ConditionTypes.Complete))
        {
            console.Say($"job {name} is complete{(JobText.Progress(status.Progress) is { } progress ? $": {progress}" : "")}");
            return ExitCodes.Done;
        }

        if (status.Is(ConditionTypes.Failed))
        {
            console.Problem($"job {name} failed: {status.Message}");
            return status.LastFailures is [{ ExitCode: > 0 and { } code }, ..] ? code : ExitCodes.Stopped;
        }

        console.Say($"job {name} was stopped; `deepspeed submit` of its manifest lets it go on from its last checkpoint");
        return ExitCodes.Stopped;
    }

    private void WarnWithoutOperator(DeepSpeedJobStatus status)
    {
        if (!_isWarned && status.ObservedGeneration is null && Stopwatch.GetElapsedTime(_begin) > OperatorIsLate)
        {
            console.Problem($"no operator has taken up job {name} for {OperatorIsLate.TotalSeconds:0} s; is it running? "
                + "see `kubectl get pods -A -l app.kubernetes.io/name=deepspeed-operator`");
            _isWarned = true;
        }
    }

    private bool MayGoOn(Exception e)
    {
        if (_outage is null)
        {
            _outage = Stopwatch.GetTimestamp();
            console.Problem($"the API server does not answer ({ClusterCommand.Innermost(e)}); trying for {LongestOutage.TotalMinutes:0} minutes");
        }

        if (Stopwatch.GetElapsedTime(_outage.Value) < LongestOutage)
        {
            return true;
        }

        console.Problem($"the API server did not answer for {LongestOutage.TotalMinutes:0} minutes; the job may go on without it");
        Hints();
        return false;
    }

    private void Hints()
    {
        string ns = client.IsNamespaceGiven ? $" -n {client.Namespace}" : "";
        console.Detail($"  deepspeed logs {name}{ns} -f    follows it again");
        console.Detail($"  deepspeed stop {name}{ns}       stops it, after a checkpoint");
    }
}
