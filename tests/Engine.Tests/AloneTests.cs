namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Tests that nothing may run beside: they count the process's memory, or depend on libtorch's random numbers,
/// of which there is one sequence per process.</summary>
[CollectionDefinition(nameof(AloneTests), DisableParallelization = true)]
public sealed class AloneTests
{
    /// <summary>Frees what earlier tests have left to the garbage collector, so that it does not disturb a count.</summary>
    internal static void Collect()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
    }
}
