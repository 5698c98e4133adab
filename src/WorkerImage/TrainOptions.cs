using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker;

/// <summary>What <c>deepspeed-worker train</c> was asked to do.</summary>
internal sealed record TrainOptions
{
    public required string Model { get; init; }
    public required string Data { get; init; }
    public string? DataFormat { get; init; }
    public required string ConfigPath { get; init; }
    public TrainerArguments Arguments { get; init; } = new();
    public int? SequenceLength { get; init; }
    public long MaxSteps { get; init; }
    public bool Shuffle { get; init; }
    public bool GradientCheckpointing { get; init; }
    public long Seed { get; init; }
    public bool FastInit { get; init; }
    public int? VocabSize { get; init; }
    public int? Layers { get; init; }
    public int? Heads { get; init; }
    public int? Embedding { get; init; }
    public double? Dropout { get; init; }
    public string? CheckpointDirectory { get; init; }
    public int SaveSteps { get; init; }
    public int? SaveTotalLimit { get; init; }
    public bool AsyncSave { get; init; }
    public string? MetricsFile { get; init; }
    public int? MetricsPort { get; init; }
    public double? PeakTflops { get; init; }
    public string MetricsPath { get; init; } = "/metrics";
}
