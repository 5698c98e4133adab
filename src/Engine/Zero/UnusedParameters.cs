namespace DeepSpeedSharp.Engine.Zero;

/// <summary>What <c>ignore_unused_parameters: false</c> asks for.</summary>
internal static class UnusedParameters
{
    private const int Shown = 5; // names in the message

    /// <summary>Names the parameters that a backward has not reached.</summary>
    /// <param name="slots">All parameters.</param>
    /// <param name="seen">Whether each got a gradient; nothing is said when none did, as no backward ran.</param>
    /// <exception cref="InvalidOperationException">There are some.</exception>
    public static void ThrowIfAny(IReadOnlyList<ParameterSlot> slots, IReadOnlyList<bool> seen)
    {
        string[] unused = [.. slots.Where((_, i) => !seen[i]).Select(slot => slot.Name)];
        if (unused.Length > 0 && unused.Length < slots.Count)
        {
            throw new InvalidOperationException($"backward did not reach {string.Join(", ", unused.Take(Shown))}"
                + (unused.Length > Shown ? $" and {unused.Length - Shown} more" : "")
                + "; use them in the loss, freeze them with requires_grad = false, or set zero_optimization.ignore_unused_parameters to true");
        }
    }
}
