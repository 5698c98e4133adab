namespace DeepSpeedSharp.Jobs;

/// <summary>What a field means when the manifest leaves it out. In code, so that old objects get them too.</summary>
public static class JobDefaults
{
    /// <summary>Rendezvous port, DeepSpeed's default.</summary>
    public const int MasterPort = 29500;

    /// <summary>The value of <c>managedBy</c> that means this operator.</summary>
    public const string Controller = DeepSpeedJobManifest.Group + "/controller";

    /// <summary>Number of nodes.</summary>
    public static int Nodes(this DeepSpeedJobSpec spec) => spec.NumNodes ?? 1;

    /// <summary>GPUs of each node.</summary>
    public static int Gpus(this DeepSpeedJobSpec spec) => spec.GpusPerNode ?? 0;

    /// <summary>Ranks of each node: one per GPU, or one on the CPU.</summary>
    public static int Slots(this DeepSpeedJobSpec spec) => Math.Max(1, spec.Gpus());

    /// <summary>Ranks of the job.</summary>
    public static int WorldSize(this DeepSpeedJobSpec spec) => spec.Nodes() * spec.Slots();

    /// <summary>How ranks are started.</summary>
    public static LaunchMode Mode(this DeepSpeedJobSpec spec) => spec.Launcher switch
    {
        "PerGpu" => LaunchMode.PerGpu,
        "Torchrun" => LaunchMode.Torchrun,
        "DeepSpeed" => LaunchMode.DeepSpeed,
        _ => LaunchMode.Worker,
    };

    /// <summary>Number of pods: one per node, or one per GPU.</summary>
    public static int Pods(this DeepSpeedJobSpec spec) =>
        spec.Mode() == LaunchMode.PerGpu ? spec.WorldSize() : spec.Nodes();

    /// <summary>Ranks of each pod.</summary>
    public static int PodSlots(this DeepSpeedJobSpec spec) => spec.Mode() == LaunchMode.PerGpu ? 1 : spec.Slots();

    /// <summary>GPUs of each pod.</summary>
    public static int PodGpus(this DeepSpeedJobSpec spec) =>
        spec.Mode() == LaunchMode.PerGpu ? Math.Min(1, spec.Gpus()) : spec.Gpus();

    /// <summary>Resource name of the GPUs.</summary>
    public static string GpuResourceName(this DeepSpeedJobSpec spec) =>
        string.IsNullOrEmpty(spec.GpuResource) ? "nvidia.com/gpu" : spec.GpuResource;

    /// <summary>Counted failures the job survives.</summary>
    public static int MaxRestarts(this DeepSpeedJobSpec spec) => spec.Restart?.MaxRestarts ?? 3;

    /// <summary>Whether the first failure ends the job.</summary>
    public static bool NeverRestarts(this DeepSpeedJobSpec spec) => spec.Restart?.Policy == "Never";

    /// <summary>Whether the next attempt waits for the pods of the last one.</summary>
    public static bool WaitsForOldPods(this DeepSpeedJobSpec spec) => spec.Restart?.Strategy != "Replace";

    /// <summary>Pause before the first restart of a row.</summary>
    public static TimeSpan Backoff(this DeepSpeedJobSpec spec) => TimeSpan.FromSeconds(spec.Restart?.BackoffSeconds ?? 10);

    /// <summary>Longest pause before a restart.</summary>
    public static TimeSpan BackoffMax(this DeepSpeedJobSpec spec) => TimeSpan.FromSeconds(spec.Restart?.BackoffMaxSeconds ?? 300);

    /// <summary>Training without failure that ends a row of failures.</summary>
    public static TimeSpan ResetAfter(this DeepSpeedJobSpec spec) => TimeSpan.FromSeconds(spec.Restart?.ResetAfterSeconds ?? 1800);

    /// <summary>When pods of a machine that does not answer count as lost.</summary>
    public static TimeSpan NodeLoss(this DeepSpeedJobSpec? spec) => TimeSpan.FromSeconds(spec?.Restart?.NodeLossSeconds ?? 60);

    /// <summary>Whether the job is suspended.</summary>
    public static bool IsSuspended(this DeepSpeedJobSpec spec) => spec.Suspend ?? false;

    /// <summary>Whether this operator looks after the job.</summary>
    public static bool IsOurs(this DeepSpeedJobSpec spec) => string.IsNullOrEmpty(spec.ManagedBy) || spec.ManagedBy == Controller;

    /// <summary>Whether the job is complete when node 0 has succeeded.</summary>
    public static bool Rank0Decides(this DeepSpeedJobSpec spec) => spec.SuccessPolicy == "Rank0";

    /// <summary>Failed pods of earlier attempts that stay.</summary>
    public static int FailedPodsToKeep(this DeepSpeedJobSpec? spec) => spec?.KeepFailedPods ?? 1;

    /// <summary>Port where rank 0 listens.</summary>
    public static int Port(this DeepSpeedJobSpec spec) => spec.Network?.Port ?? MasterPort;

    /// <summary>Port of the metrics endpoint.</summary>
    public static int MetricsPort(this DeepSpeedJobSpec spec) => spec.Metrics?.Port ?? 9400;

    /// <summary>Path of the metrics endpoint.</summary>
    public static string MetricsPath(this DeepSpeedJobSpec spec) => spec.Metrics?.Path ?? "/metrics";

    /// <summary>Whether the operator asks for progress.</summary>
    public static bool PullsProgress(this DeepSpeedJobSpec spec) => spec.Progress?.Mode != "None";

    /// <summary>Seconds a pod gets to save a last checkpoint.</summary>
    public static int GracePeriodSeconds(this DeepSpeedJobSpec spec) => spec.Checkpoint?.GracePeriodSeconds ?? 120;

    /// <summary>Who places all pods together or none.</summary>
    public static GangScheduler Gang(this DeepSpeedJobSpec spec) =>
        Enum.TryParse(spec.Scheduling?.Gang, out GangScheduler gang) ? gang : GangScheduler.None;

    /// <summary>Pods that must find a place at once.</summary>
    public static int MinAvailable(this DeepSpeedJobSpec spec) =>
        Math.Min(spec.Scheduling?.MinAvailable ?? spec.Elastic?.MinNodes ?? spec.Pods(), spec.Pods());

    /// <summary>Scheduler of the pods; null for the cluster's own.</summary>
    public static string? SchedulerName(this DeepSpeedJobSpec spec) =>
        !string.IsNullOrEmpty(spec.Scheduling?.SchedulerName) ? spec.Scheduling.SchedulerName : spec.Gang() switch
        {
            GangScheduler.Volcano => "volcano",
            GangScheduler.Coscheduling => "scheduler-plugins-scheduler", // as its Helm chart names it
            _ => null,
        };

    /// <summary>Folder of the job on the checkpoint volume.</summary>
    public static string SubPathFor(this CheckpointSpec checkpoint, string job) =>
        string.IsNullOrEmpty(checkpoint.SubPath) ? job : checkpoint.SubPath;

    /// <summary>Name of the claim: the user's, or the one that is created.</summary>
    public static string ClaimFor(this CheckpointSpec checkpoint, string job) =>
        checkpoint.ClaimName ?? $"{job}-checkpoints";
}

/// <summary>How the ranks of a pod are started.</summary>
public enum LaunchMode
{
    /// <summary>The image starts one process per slot itself.</summary>
    Worker,

    /// <summary>One pod, and so one process, per GPU.</summary>
    PerGpu,

    /// <summary>torchrun starts one process per slot.</summary>
    Torchrun,

    /// <summary>DeepSpeed's launcher starts one process per slot.</summary>
    DeepSpeed,
}
