using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Parameters that are trained with the same numbers: one contiguous range of the flat buffers.</summary>
/// <remarks>A schedule sets <see cref="LearningRate"/> and the betas before each step; a program may do so too.</remarks>
public sealed class ParameterGroup
{
    internal ParameterGroup(string name, OptimizerParams parameters, IReadOnlyList<ParameterSlot> slots)
    {
        (Name, Params, Slots) = (name, parameters, slots);
        LearningRate = parameters.LearningRate;
        WeightDecay = parameters.WeightDecay;
    }

    /// <summary>Name of the group, for messages and monitors.</summary>
    public string Name { get; }

    /// <summary>Names of its parameters, in the order of the flat buffers.</summary>
    public IEnumerable<string> ParameterNames => Slots.Select(slot => slot.Name);

    /// <summary>Learning rate of the next update.</summary>
    public double LearningRate { get; set; }

    /// <summary>Learning rate of the config.</summary>
    public double InitialLearningRate => Params.LearningRate;

    /// <summary>Weight decay of the next update.</summary>
    public double WeightDecay { get; set; }

    /// <summary>The optimizer's other numbers.</summary>
    internal OptimizerParams Params { get; }

    /// <summary>Its parameters; their offsets are those of the flat buffers.</summary>
    internal IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>First element in the flat buffers.</summary>
    internal long Offset => Slots[0].Offset;

    /// <summary>Elements from the first parameter to the last, padding between them included (it stays zero).</summary>
    internal long Elements => Slots[^1].Offset + Slots[^1].Elements - Offset;
}
