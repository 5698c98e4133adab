namespace DeepSpeedSharp.Jobs;

/// <summary>What a field means when the manifest leaves it out. In code, so that old objects get them too.</summary>
public static class JobDefaults
{
    /// <summary>Rendezvous port, DeepSpeed's default.</summary>
    public const int MasterPort = 29500;

    /// <summary>Number of worker pods.</summary>
    public static int Nodes(this DeepSpeedJobSpec spec) => spec.NumNodes ?? 1;

    /// <summary>GPUs of each pod.</summary>
    public static int Gpus(this DeepSpeedJobSpec spec) => spec.GpusPerNode ?? 0;

    /// <summary>Ranks of each pod: one per GPU, or one on the CPU.</summary>
    public static int Slots(this DeepSpeedJobSpec spec) => Math.Max(1, spec.Gpus());

    /// <summary>Ranks of the job.</summary>
    public static int WorldSize(this DeepSpeedJobSpec spec) => spec.Nodes() * spec.Slots();

    /// <summary>Counted failures the job survives.</summary>
    public static int MaxRestarts(this DeepSpeedJobSpec spec) => spec.Restart?.MaxRestarts ?? 3;

    /// <summary>Whether the job is suspended.</summary>
    public static bool IsSuspended(this DeepSpeedJobSpec spec) => spec.Suspend ?? false;

    /// <summary>Port of the metrics endpoint.</summary>
    public static int MetricsPort(this DeepSpeedJobSpec spec) => spec.Metrics?.Port ?? 9400;

    /// <summary>Path of the metrics endpoint.</summary>
    public static string MetricsPath(this DeepSpeedJobSpec spec) => spec.Metrics?.Path ?? "/metrics";

    /// <summary>Seconds a pod gets to save a last checkpoint.</summary>
    public static int GracePeriodSeconds(this DeepSpeedJobSpec spec) => spec.Checkpoint?.GracePeriodSeconds ?? 120;

    /// <summary>Folder of the job on the checkpoint volume.</summary>
    public static string SubPathFor(this CheckpointSpec checkpoint, string job) =>
        string.IsNullOrEmpty(checkpoint.SubPath) ? job : checkpoint.SubPath;

    /// <summary>Name of the claim: the user's, or the one that is created.</summary>
    public static string ClaimFor(this CheckpointSpec checkpoint, string job) =>
        checkpoint.ClaimName ?? $"{job}-checkpoints";
}
