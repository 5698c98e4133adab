namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Lets a module tell the flops profiler of the work it does itself, outside its child modules.</summary>
/// <remarks>
/// The profiler counts built-in layers by their type. A module that computes with functions in its own
/// <c>forward</c>, such as <c>functional.linear</c> or <c>scaled_dot_product_attention</c>, implements this, usually as
/// a sum of <see cref="FlopCount"/>'s rules. Children are counted for themselves and must not be included.
/// </remarks>
public interface ICountFlops
{
    /// <summary>The module's own work in one call.</summary>
    /// <param name="call">Shapes of what went in and came out.</param>
    FlopCount CountFlops(ModuleCall call);
}

/// <summary>One call of a module, as shapes.</summary>
/// <param name="Inputs">Shapes of the tensors that went in, in order; members of tuples and lists count one by one.</param>
/// <param name="Outputs">Shapes of the tensors that came out.</param>
public sealed record ModuleCall(IReadOnlyList<IReadOnlyList<long>> Inputs, IReadOnlyList<IReadOnlyList<long>> Outputs);
