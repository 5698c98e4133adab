using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>What a config means, one row per subject; a row without value says nothing worth reading.</summary>
internal static class ConfigRows
{
    public static IEnumerable<(string Name, string? Value)> Of(DeepSpeedConfig config, BatchPlan batch)
    {
        yield return ("batch", ConfigText.Describe(batch));
        yield return ("optimizer", OptimizerSummary.Describe(config.Optimizer));
        yield return ("schedule", ScheduleSummary.Describe(config.Scheduler, config.Optimizer));
        yield return ("clipping", config.GradientClipping == 0
            ? "off" : Text($"global gradient norm at most {config.GradientClipping}"));
        yield return ("gradients", Gradients(config));
        yield return ("zero", Zero(config.Zero));
        yield return ("precision", Precision(config));
        yield return ("recompute", Recompute(config.ActivationCheckpointing));
        yield return ("progress", config.StepsPerPrint is { } steps
            ? steps == 1 ? "every step" : Text($"every {steps} steps") : "about every two seconds");
        yield return ("monitors", Join(
            config.TensorBoard.Enabled ? $"TensorBoard, {Folder(config.TensorBoard.OutputPath, config.TensorBoard.JobName)}" : null,
            config.CsvMonitor.Enabled ? $"CSV files, {Folder(config.CsvMonitor.OutputPath, config.CsvMonitor.JobName)}" : null));
        yield return ("measured", Join(
            config.FlopsProfiler.Enabled ? Text($"flops of step {config.FlopsProfiler.ProfileStep + 1}") : null,
            config.WallClockBreakdown ? "time of each phase" : null,
            config.MemoryBreakdown ? "memory of each phase" : null,
            config.CommsLogger.Enabled ? "collectives" : null));
        yield return ("hint", config.VocabularySize is { } size && size % 8 != 0
            ? Text($"a vocabulary of {size} is slow on GPUs; {(size + 7) / 8 * 8} is the next multiple of 8") : null);
    }

    private static string? Gradients(DeepSpeedConfig config) => Join(
        config.GradientAllReduceOp == GradientAllReduceOp.Sum ? "summed over ranks instead of averaged" : null,
        config.PrescaleGradients ? "divided before they are summed" : null,
        config.GradientPredivideFactor != 1 ? Text($"divided by {config.GradientPredivideFactor} before they are summed") : null,
        config.CommunicationDataType is { } type ? $"travel in {Name(type)}" : null,
        config.DataTypes.GradAccumDtype is { } sum ? $"accumulate in {Name(sum)}" : null,
        config.SparseGradients ? "embeddings as rows and indices" : null);

    private static string Zero(ZeroConfig zero) => Join(
        Text($"stage {zero.Stage}"),
        Text($"buckets of {zero.ReduceBucketSize:#,0} elements"),
        zero is { Stage: > 0, OverlapComm: true } ? "reduced while backward runs" : null,
        zero.OffloadOptimizer is { Device: not OffloadDevice.None } o ? $"optimizer in {Place(o.Device, o.NvmePath)}" : null,
        zero.OffloadParam is { Device: not OffloadDevice.None } p ? $"parameters in {Place(p.Device, p.NvmePath)}" : null)!;

    private static string Precision(DeepSpeedConfig config)
    {
        if (config.Bf16.Enabled)
        {
            return config.Bf16.MasterWeightsAndGrads ? "bf16 with bf16 master weights" : "bf16 with fp32 master weights";
        }

        if (!config.Fp16.Enabled)
        {
            return "fp32";
        }

        return config.Fp16.LossScale > 0
            ? Text($"fp16, loss scale {config.Fp16.LossScale}")
            : Text($"fp16, dynamic loss scale from 2^{config.Fp16.InitialScalePower}, doubled after {config.Fp16.LossScaleWindow} good steps");
    }

    private static string? Recompute(ActivationCheckpointingConfig config) => Join(
        config.CpuCheckpointing ? "inputs in host memory" : null,
        config.PartitionActivations ? "inputs split over model-parallel ranks" : null,
        config.ContiguousMemoryOptimization ? Text($"{config.NumberCheckpoints} inputs in one buffer") : null);

    private static string Place(OffloadDevice device, string? path) =>
        device == OffloadDevice.Cpu ? "host memory" : $"files below {path}";

    private static string Folder(string path, string job) => path.Length == 0 ? job : Path.Combine(path, job);

    private static string Name(TrainingDataType type) => type switch
    {
        TrainingDataType.Fp16 => "fp16",
        TrainingDataType.Bf16 => "bf16",
        _ => "fp32",
    };

    private static string? Join(params IEnumerable<string?> parts)
    {
        string text = string.Join(", ", parts.OfType<string>());
        return text.Length == 0 ? null : text;
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
