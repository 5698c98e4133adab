using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

/// <summary>Jobs and pods for decisions.</summary>
internal static class Some
{
    public static readonly DateTimeOffset Now = new(2026, 1, 1, 12, 0, 0, TimeSpan.Zero);

    public static DeepSpeedJobSpec Spec(int nodes = 2, int? maxRestarts = null, bool? suspend = null) => new()
    {
        Image = "worker:1",
        NumNodes = nodes,
        Restart = maxRestarts is null ? null : new RestartSpec { MaxRestarts = maxRestarts },
        Suspend = suspend,
    };

    /// <summary>One machine that has not answered for so many seconds.</summary>
    public static IReadOnlyDictionary<string, Silence> Silent(string machine, int seconds) => new Dictionary<string, Silence>
    {
        [machine] = new(Now.AddSeconds(-seconds), TimeSpan.FromSeconds(seconds)),
    };

    public static JobSnapshot NewJob(DeepSpeedJobSpec? spec = null) => new()
    {
        Name = "a",
        Generation = 1,
        Spec = spec ?? Spec(),
        Status = new DeepSpeedJobStatus(),
        Now = Now,
    };

    /// <summary>A job in its first attempt, with all pods created and running for a minute.</summary>
    public static JobSnapshot RunningJob(DeepSpeedJobSpec? spec = null)
    {
        JobSnapshot job = NewJob(spec) with { Now = Now.AddMinutes(-1) };
        job = job with { Status = JobDecision.For(job).Status };
        job = job with { Pods = [.. Enumerable.Range(0, job.Desired).Select(i => RunningPod(i))] };
        JobSnapshot running = job with { Status = JobDecision.For(job).Status, Now = Now };
        Assert.Equal("Running", running.Status.Phase);
        Assert.Equal(1, running.Status.CreatedAttempt);
        return running;
    }

    public static PodSnapshot Pod(int index, int attempt = 1) => new()
    {
        Namespace = "default",
        Name = $"a-{attempt}-{index}",
        Uid = $"pod-{attempt}-{index}",
        OwnerUid = "uid",
        OwnerName = "a",
        Attempt = attempt,
        Index = index,
    };

    public static PodSnapshot RunningPod(int index, int attempt = 1) =>
        Pod(index, attempt) with { Phase = "Running", ClusterNode = "node-1", PodIp = "10.0.0.1", IsReady = true };

    public static PodSnapshot FailedPod(int index, int exitCode, int secondsAgo = 10, string? message = null) =>
        RunningPod(index) with
        {
            Phase = "Failed",
            IsReady = false,
            ExitCode = exitCode,
            TerminatedReason = "Error",
            TerminationMessage = message,
            FinishedAt = Now.AddSeconds(-secondsAgo),
        };

    public static PodSnapshot SucceededPod(int index) =>
        RunningPod(index) with { Phase = "Succeeded", IsReady = false, ExitCode = 0, FinishedAt = Now };

    /// <summary>The job with these pods in place of those of the same name; failures have settled.</summary>
    public static JobSnapshot With(this JobSnapshot job, params PodSnapshot[] pods) => job with
    {
        Pods = [.. job.Pods.Where(p => pods.All(n => n.Name != p.Name)), .. pods],
        FailureSeenAt = Now.AddSeconds(-5),
    };

    public static JobSnapshot Without(this JobSnapshot job, int index) => job with
    {
        Pods = [.. job.Pods.Where(p => p.Index != index)],
        FailureSeenAt = Now.AddSeconds(-5),
    };

    /// <summary>The status a decision wrote, and time has passed.</summary>
    public static JobSnapshot After(this JobSnapshot job, JobDecision decision, int seconds = 0) =>
        job with { Status = decision.Status, Now = job.Now.AddSeconds(seconds), FailureSeenAt = null };
}
