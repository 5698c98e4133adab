namespace DeepSpeedSharp.Engine;

/// <summary>Memory of a GPU that libtorch has taken for this process, in bytes.</summary>
/// <param name="Allocated">Taken by tensors now.</param>
/// <param name="PeakAllocated">The most that tensors have taken; null where libtorch does not say.</param>
/// <param name="Reserved">Held by libtorch, for tensors to come included.</param>
public sealed record GpuMemory(long Allocated, long? PeakAllocated, long Reserved);
