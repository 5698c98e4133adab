namespace DeepSpeedSharp.Config;

/// <summary>Learning-rate schedules by Hugging Face's names (<c>lr_scheduler_type</c>), where DeepSpeed has the same curve.</summary>
public enum TrainerSchedule
{
    /// <summary>Warm-up, then a straight line to zero: WarmupDecayLR.</summary>
    Linear,

    /// <summary>Warm-up, then half a cosine to zero: WarmupCosineLR.</summary>
    Cosine,

    /// <summary>No schedule.</summary>
    Constant,

    /// <summary>Warm-up, then constant: WarmupLR.</summary>
    ConstantWithWarmup,
}

/// <summary>The <c>scheduler</c> sections behind the names.</summary>
internal static class TrainerSchedules
{
    /// <returns>The type, and the section to use when a config has none; null for no schedule.</returns>
    public static (string Type, object? Section) SectionFor(TrainerSchedule schedule) => schedule switch
    {
        TrainerSchedule.Linear => Section("WarmupDecayLR", new
        {
            warmup_max_lr = "auto",
            warmup_num_steps = "auto",
            total_num_steps = "auto",
            warmup_type = "linear",
        }),
        TrainerSchedule.Cosine => Section("WarmupCosineLR", new
        {
            warmup_num_steps = "auto",
            total_num_steps = "auto",
            cos_min_ratio = 0,
            warmup_type = "linear",
        }),
        TrainerSchedule.ConstantWithWarmup => Section("WarmupLR", new
        {
            warmup_max_lr = "auto",
            warmup_num_steps = "auto",
            warmup_type = "linear",
        }),
        _ => ("no schedule", null),
    };

    private static (string, object?) Section(string type, object parameters) => (type, new { type, @params = parameters });
}
