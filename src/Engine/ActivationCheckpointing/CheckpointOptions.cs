using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>How checkpointed blocks keep their inputs.</summary>
public sealed record CheckpointOptions
{
    /// <summary>Keep inputs in host memory until backward (<c>activation_checkpointing.cpu_checkpointing</c>): frees GPU
    /// memory for two copies over the bus per block.</summary>
    public bool CpuCheckpointing { get; init; }

    /// <summary>Draw the same random numbers again when a block is computed again, so that dropout drops the same
    /// elements. Off saves a little time where a block uses none.</summary>
    public bool PreserveRandomState { get; init; } = true;

    /// <summary>The options that a config asks for.</summary>
    /// <param name="config">The <c>activation_checkpointing</c> section.</param>
    /// <returns>The options; <see cref="ActivationCheckpointingConfig.NumberCheckpoints"/> goes to
    /// <see cref="CheckpointedSequence"/>.</returns>
    public static CheckpointOptions From(ActivationCheckpointingConfig config) =>
        new() { CpuCheckpointing = config.CpuCheckpointing };
}
