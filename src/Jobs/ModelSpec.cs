using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>What the operator is told about the model, for the estimate of memory in the status.</summary>
public sealed record ModelSpec
{
    /// <summary>Number of trained parameters.</summary>
    [Description("Number of trained parameters, for example 124M, 7B or 1500000000.")]
    [MaxLength(32)]
    public string? Parameters { get; init; }

    /// <summary>Tokens of a sample.</summary>
    [Description("Tokens of a sample. Without it the estimate leaves activations out.")]
    [Range(1, 100_000_000)]
    public int? SequenceLength { get; init; }

    /// <summary>Whether layers are computed again in backward.</summary>
    [Description("Whether the program computes layers again in backward (activation checkpointing), which takes less memory for activations. Default false.")]
    public bool? ActivationCheckpointing { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }

    /// <summary>Adds one problem per broken rule.</summary>
    internal static void Check(ModelSpec? model, ConfigErrors errors)
    {
        if (model is null)
        {
            return;
        }

        if (string.IsNullOrEmpty(model.Parameters))
        {
            errors.Add("spec.model.parameters", "it is missing", "write for example 124M or 7B");
        }
        else if (ParameterCount.Parse(model.Parameters) is null)
        {
            errors.Add("spec.model.parameters", $"\"{model.Parameters}\" is not a number of parameters", "write for example 124M or 7B");
        }
    }
}
