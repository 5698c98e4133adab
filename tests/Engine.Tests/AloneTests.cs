namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Tests that nothing may run beside: they count the process's memory, or depend on libtorch's random numbers,
/// of which there is one sequence per process.</summary>
[CollectionDefinition(nameof(AloneTests), DisableParallelization = true)]
public sealed class AloneTests
{
    private const int MostRounds = 20;

    /// <summary>Frees what earlier tests have left to the garbage collector, so that it does not disturb a count.</summary>
    /// <remarks>A finalizer lets go of objects whose own finalizers free native memory in the next round, so it goes on until a
    /// round frees nothing.</remarks>
    internal static void Collect()
    {
        (long Tensors, long Bytes) before, now = (Tensor.TotalCount, ProcessMemory.AllocatedNatively());
        int rounds = 0;
        do
        {
            before = now;
            GC.Collect();
            GC.WaitForPendingFinalizers();
            now = (Tensor.TotalCount, ProcessMemory.AllocatedNatively());
        }
        while (now != before && ++rounds < MostRounds);
    }
}
