namespace DeepSpeedSharp.Engine;

/// <summary>One parameter of the model and its place in the flat buffers.</summary>
/// <param name="Name">Its name in the model, as in a state dictionary.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">First element in the flat buffers; in ZeRO stage 3, where each parameter is cut on its own, the first
/// one of each rank's part in that rank's shard.</param>
/// <param name="Elements">Number of elements.</param>
internal sealed record ParameterSlot(string Name, IReadOnlyList<long> Shape, long Offset, long Elements)
{
    /// <summary>Its elements in the flat buffers; not in stage 3.</summary>
    public ElementRange Range => new(Offset, Elements);
}
