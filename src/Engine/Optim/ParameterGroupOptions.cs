namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Parameters to be trained with numbers of their own; what it does not name comes from the config.</summary>
/// <remarks>As a list for Initialize: the first group that includes a parameter gets it. Biases and norms without decay:
/// <code>
/// [new() { Includes = name => name.EndsWith("bias") || name.Contains("ln_"), WeightDecay = 0 }, new()]
/// </code>
/// </remarks>
public sealed record ParameterGroupOptions
{
    /// <summary>Name for messages and monitors; null numbers the group.</summary>
    public string? Name { get; init; }

    /// <summary>Says of each parameter name whether it belongs here; null takes all that no earlier group has.</summary>
    public Func<string, bool>? Includes { get; init; }

    /// <summary>Learning rate; null means the config's.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Weight decay; null means the config's.</summary>
    public double? WeightDecay { get; init; }
}
