using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>What this process holds. Only a test that runs alone can say whose it is.</summary>
/// <param name="Tensors">Managed tensors that something holds.</param>
/// <param name="UndisposedTensors">Managed tensors that nothing held any more, and nobody had disposed.</param>
/// <param name="ManagedBytes">Reachable objects.</param>
/// <param name="NativeBytes">Handed out by the C allocator; libtorch's CPU tensors are all in there.</param>
/// <param name="ResidentBytes">Pages in main memory.</param>
internal readonly partial record struct ProcessMemory(
    long Tensors, long UndisposedTensors, long ManagedBytes, long NativeBytes, long ResidentBytes)
{
    /// <summary>Measures, after giving back what nobody uses: garbage, finalizable objects, and freed native memory.</summary>
    public static ProcessMemory Measure()
    {
        long tensors = Tensor.TotalCount;
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long managed = GC.GetTotalMemory(forceFullCollection: true);
        long native = AllocatedNatively();
        _ = MallocTrim(0);
        return new ProcessMemory(Tensor.TotalCount, tensors - Tensor.TotalCount, managed, native, Environment.WorkingSet);
    }

    /// <summary>What the C allocator has handed out, in its own heaps and by mmap.</summary>
    public static long AllocatedNatively()
    {
        MallocInfo info = Mallinfo2();
        return (long)(info.UsedInHeaps + info.UsedByMmap);
    }

    public static ProcessMemory operator -(ProcessMemory a, ProcessMemory b) => new(a.Tensors - b.Tensors,
        a.UndisposedTensors - b.UndisposedTensors, a.ManagedBytes - b.ManagedBytes, a.NativeBytes - b.NativeBytes, a.ResidentBytes - b.ResidentBytes);

    [LibraryImport("libc", EntryPoint = "mallinfo2")]
    private static partial MallocInfo Mallinfo2();

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int MallocTrim(nuint pad);

    // struct mallinfo2 of glibc
    private readonly record struct MallocInfo(nuint Arena, nuint FreeChunks, nuint FastChunks, nuint MmapRegions,
        nuint UsedByMmap, nuint Unused, nuint FastBytes, nuint UsedInHeaps, nuint FreeBytes, nuint TopBytes);
}
