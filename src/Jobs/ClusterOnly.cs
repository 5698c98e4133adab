namespace DeepSpeedSharp.Jobs;

/// <summary>What of a job means something on a cluster only, so that a run on one machine can say so.</summary>
public static class ClusterOnly
{
    /// <summary>Fields that are given and have no effect on one machine.</summary>
    /// <param name="spec">The spec.</param>
    public static IReadOnlyList<string> Fields(DeepSpeedJobSpec spec) =>
    [
        .. new (string Name, bool IsGiven)[]
        {
            ("template", spec.Template is not null),
            ("elastic", spec.Elastic is not null),
            ("scheduling", spec.Scheduling is not null),
            ("model", spec.Model is not null),
            ("network", spec.Network is not null),
            ("shm", spec.Shm is not null),
            ("progress", spec.Progress is not null),
            ("activeDeadlineSeconds", spec.ActiveDeadlineSeconds is not null),
            ("startupDeadlineSeconds", spec.StartupDeadlineSeconds is not null),
            ("progressDeadlineSeconds", spec.ProgressDeadlineSeconds is not null),
            ("ttlSecondsAfterFinished", spec.TtlSecondsAfterFinished is not null),
            ("successPolicy", spec.Rank0Decides()),
            ("restart", spec.Restart is { } restart && restart != new RestartSpec { MaxRestarts = restart.MaxRestarts }),
        }.Where(f => f.IsGiven).Select(f => f.Name),
    ];
}
