namespace DeepSpeedSharp.Engine;

/// <summary>What <see cref="DeepSpeedEngine.SaveCheckpoint"/> does besides saving.</summary>
public sealed record SaveCheckpointOptions
{
    /// <summary>Whether <c>latest</c> names this checkpoint from now on.</summary>
    /// <value>The default is true, as DeepSpeed's <c>save_latest</c>.</value>
    public bool SaveLatest { get; init; } = true;

    /// <summary>Leaves frozen parameters out; loading such a checkpoint needs <see cref="LoadCheckpointOptions.LoadModuleStrict"/> false.</summary>
    public bool ExcludeFrozenParameters { get; init; }

    /// <summary>Deletes older checkpoints that have the default tag, all but so many; never the one that <c>latest</c> names.
    /// Null keeps all.</summary>
    public int? KeepLast { get; init; }

    /// <summary>Copies the state to host memory and writes it while training goes on; null does what
    /// <c>checkpoint.writer.decoupled</c> says.</summary>
    public bool? Asynchronous { get; init; }
}
