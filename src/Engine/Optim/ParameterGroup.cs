using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Parameters that are trained with the same numbers: one contiguous range of the flat buffers.</summary>
/// <remarks>A schedule sets <see cref="LearningRate"/> and the betas before each step; a program may do so too.</remarks>
public sealed class ParameterGroup
{
    internal ParameterGroup(string name, OptimizerParams parameters, IReadOnlyList<ParameterSlot> slots)
    {
        (Name, Params, Slots) = (name, parameters, slots);
        LearningRate = InitialLearningRate = parameters.LearningRate;
        WeightDecay = parameters.WeightDecay;
        (Beta1, Beta2) = parameters switch
        {
            AdamParams p => (p.Betas[0], p.Betas[1]),
            LambParams p => (p.Betas[0], p.Betas[1]),
            LionParams p => (p.Betas[0], p.Betas[1]),
            MuonParams p => (p.Momentum, (double?)null),
            SgdParams p => (p.Momentum, null),
            _ => ((double?)null, (double?)null),
        };
    }

    /// <summary>Name of the group, for messages and monitors.</summary>
    public string Name { get; }

    /// <summary>Names of its parameters, in the order of the flat buffers.</summary>
    public IEnumerable<string> ParameterNames => Slots.Select(slot => slot.Name);

    /// <summary>Learning rate of the next update.</summary>
    public double LearningRate { get; set; }

    /// <summary>Learning rate of the config, or of the caller's optimizer.</summary>
    public double InitialLearningRate { get; internal set; }

    /// <summary>Weight decay of the next update.</summary>
    public double WeightDecay { get; set; }

    /// <summary>First beta, or momentum, of the next update; null when the optimizer has none.</summary>
    public double? Beta1 { get; set; }

    /// <summary>Second beta of the next update; null when the optimizer has none.</summary>
    public double? Beta2 { get; set; }

    /// <summary>The optimizer's other numbers.</summary>
    internal OptimizerParams Params { get; }

    /// <summary>Its parameters; their offsets are those of the flat buffers.</summary>
    internal IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>First element in the flat buffers.</summary>
    internal long Offset => Slots[0].Offset;

    /// <summary>Elements from the first parameter to the last, padding between them included (it stays zero).</summary>
    internal long Elements => Slots[^1].Offset + Slots[^1].Elements - Offset;
}
