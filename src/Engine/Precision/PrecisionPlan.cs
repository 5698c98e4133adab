using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Precision;

/// <summary>Which element type each part of training has.</summary>
/// <param name="Model">Of the parameters that the model computes with.</param>
/// <param name="Gradients">Of the gradients that backward adds to.</param>
/// <param name="Communication">Of the gradients while they travel between ranks.</param>
/// <param name="Buffers">Of the model's floating buffers; null leaves each its own.</param>
/// <param name="ChecksOverflow">Whether a step with a non-finite gradient is skipped.</param>
internal sealed record PrecisionPlan(
    ScalarType Model, ScalarType Gradients, ScalarType Communication, ScalarType? Buffers, bool ChecksOverflow)
{
    /// <summary>Whether the optimizer updates an fp32 copy of the parameters.</summary>
    /// <remarks>Micikevicius et al., "Mixed Precision Training", 2018, section 3.1.</remarks>
    public bool HasMasters => Model != ScalarType.Float32;

    /// <summary>The plan of a config. As in DeepSpeed, gradients have the model's type unless
    /// <c>data_types.grad_accum_dtype</c> says otherwise, and travel in the type of the precision mode.</summary>
    public static PrecisionPlan From(DeepSpeedConfig config)
    {
        ScalarType model = config.Fp16.Enabled ? ScalarType.Float16
            : config.Bf16.Enabled ? ScalarType.BFloat16 : ScalarType.Float32;
        ScalarType gradients = config.DataTypes.GradAccumDtype is { } accumulated ? TypeOf(accumulated)
            : config.Bf16 is { Enabled: true, ImmediateGradUpdate: true } ? ScalarType.Float32 : model;
        return new PrecisionPlan(model, gradients,
            config.CommunicationDataType is { } travelling ? TypeOf(travelling) : model,
            config.DataTypes.BufferDtype is { } buffers ? TypeOf(buffers) : null,
            config.Fp16.Enabled || config.Bf16 is { Enabled: true, CheckGradOverflow: true });
    }

    /// <summary>For people: "bf16 with fp32 master weights".</summary>
    public override string ToString() => HasMasters ? $"{Name(Model)} with fp32 master weights" : "fp32";

    private static ScalarType TypeOf(TrainingDataType type) => type switch
    {
        TrainingDataType.Fp16 => ScalarType.Float16,
        TrainingDataType.Bf16 => ScalarType.BFloat16,
        _ => ScalarType.Float32,
    };

    private static string Name(ScalarType type) => type switch
    {
        ScalarType.Float16 => "fp16",
        ScalarType.BFloat16 => "bf16",
        _ => "fp32",
    };
}
