namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Parameters to be trained with numbers of their own; what it does not say comes from the config.</summary>
/// <remarks>As a list for Initialize. Biases and norms without decay:
/// <code>
/// [new() { Includes = name => name.EndsWith("bias") || name.Contains("ln_"), WeightDecay = 0 }, new()]
/// </code>
/// A name in <see cref="Names"/> belongs to that group; among conditions the first group that includes a parameter
/// gets it.
/// </remarks>
public sealed record ParameterGroupOptions
{
    /// <summary>Name for messages and monitors; null numbers the group.</summary>
    public string? Name { get; init; }

    /// <summary>Parameters by their names in the model; null when <see cref="Includes"/> decides.</summary>
    public IReadOnlyList<string>? Names { get; init; }

    /// <summary>Says of each parameter name whether it belongs here. Without it and <see cref="Names"/>, the group takes
    /// all that no earlier group has.</summary>
    public Func<string, bool>? Includes { get; init; }

    /// <summary>Learning rate; null means the config's.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Weight decay; null means the config's.</summary>
    public double? WeightDecay { get; init; }

    /// <summary>First beta, or momentum of SGD and Muon's matrices; null means the config's.</summary>
    public double? Beta1 { get; init; }

    /// <summary>Second beta; null means the config's.</summary>
    public double? Beta2 { get; init; }
}
