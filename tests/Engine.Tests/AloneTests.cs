namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Tests that nothing may run beside: they count the process's memory, or depend on libtorch's random numbers,
/// of which there is one sequence per process.</summary>
[CollectionDefinition(nameof(AloneTests), DisableParallelization = true)]
public sealed class AloneTests;
