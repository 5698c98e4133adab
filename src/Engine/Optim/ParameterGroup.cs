using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Parameters that are trained with the same numbers: one contiguous range of the flat buffers, or the part of it
/// that this rank updates.</summary>
/// <remarks>A schedule sets <see cref="LearningRate"/> and the betas before each step; a program may do so too.</remarks>
public sealed class ParameterGroup
{
    private readonly ElementRange _own; // counted in the buffers that the optimizer updates

    /// <param name="name">Its name.</param>
    /// <param name="parameters">The optimizer's numbers.</param>
    /// <param name="slots">Its parameters, at least one.</param>
    /// <param name="own">Its elements in the buffers that this rank's optimizer updates; null means all.</param>
    internal ParameterGroup(string name, OptimizerParams parameters, IReadOnlyList<ParameterSlot> slots, ElementRange? own = null)
    {
        (Name, Params, Slots) = (name, parameters, slots);
        _own = own ?? WholeOf(slots);
        _own = _own.Length == 0 ? default : _own;
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

    /// <summary>The elements of a group in the flat buffers.</summary>
    internal static ElementRange WholeOf(IReadOnlyList<ParameterSlot> slots) => new(slots[0].Offset, slots[^1].Range.End - slots[0].Offset);

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

    /// <summary>Its parameters, whoever updates them; their offsets are those of the flat weights.</summary>
    internal IReadOnlyList<ParameterSlot> Slots { get; }

    /// <summary>First element in the buffers that the optimizer updates.</summary>
    internal long Offset => _own.Start;

    /// <summary>Elements of them, padding between parameters included (it stays zero); 0 when this rank updates none.</summary>
    internal long Elements => _own.Length;
}
