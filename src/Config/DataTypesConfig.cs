using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>A number format of training: <c>fp32</c>, <c>fp16</c> or <c>bf16</c>.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<TrainingDataType>))]
public enum TrainingDataType
{
    /// <summary>IEEE single precision.</summary>
    [JsonStringEnumMemberName("fp32")]
    Fp32,

    /// <summary>IEEE half precision.</summary>
    [JsonStringEnumMemberName("fp16")]
    Fp16,

    /// <summary>Single precision cut to 16 bits.</summary>
    [JsonStringEnumMemberName("bf16")]
    Bf16,
}

/// <summary>The <c>data_types</c> section; null leaves the choice to the precision mode.</summary>
public sealed record DataTypesConfig
{
    internal static readonly (string, TrainingDataType)[] Names =
    [
        ("fp32", TrainingDataType.Fp32), ("fp16", TrainingDataType.Fp16), ("bf16", TrainingDataType.Bf16),
    ];

    /// <summary>Format in which gradients of several micro batches are summed.</summary>
    [JsonPropertyName("grad_accum_dtype")]
    public TrainingDataType? GradAccumDtype { get; init; }

    /// <summary>Format of the parameters; has to agree with the precision mode.</summary>
    [JsonPropertyName("param_dtype")]
    public TrainingDataType? ParamDtype { get; init; }

    /// <summary>Format of the model's buffers; null leaves them as they are.</summary>
    [JsonPropertyName("buffer_dtype")]
    public TrainingDataType? BufferDtype { get; init; }

    internal static DataTypesConfig Read(ConfigSection root)
    {
        if (root.Section("data_types") is not { } section)
        {
            return new DataTypesConfig();
        }

        var config = new DataTypesConfig
        {
            GradAccumDtype = section.Choice("grad_accum_dtype", Names),
            ParamDtype = section.Choice("param_dtype", Names),
            BufferDtype = section.Choice("buffer_dtype", Names),
        };
        section.End();
        return config;
    }
}
