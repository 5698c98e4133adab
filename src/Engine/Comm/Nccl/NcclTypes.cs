using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>NCCL's element types (nccl.h, ncclDataType_t).</summary>
internal enum NcclType
{
    Int8 = 0,
    UInt8 = 1,
    Int32 = 2,
    Int64 = 4,
    Float16 = 6,
    Float32 = 7,
    Float64 = 8,
    BFloat16 = 9,
}

/// <summary>NCCL's reductions (nccl.h, ncclRedOp_t).</summary>
internal enum NcclReduction
{
    Sum = 0,
    Product = 1,
    Max = 2,
    Min = 3,
    Average = 4,
}

/// <summary>What a communicator's ranks are given to find each other: ncclUniqueId.</summary>
internal unsafe struct NcclId
{
    public const int Size = 128;
    public fixed byte Bytes[Size];
}

/// <summary>How a communicator is made: ncclConfig_t as of version 2.17; later ones take it as it is.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NcclConfig
{
    private const int Undefined = int.MinValue;

    public nuint Size;
    public uint Magic;
    public uint Version;
    public int Blocking;
    public int CgaClusterSize;
    public int MinCtas;
    public int MaxCtas;
    public nint NetName;

    /// <summary>A communicator whose functions return at once: how far they are is asked for, so that nothing waits for ever.</summary>
    public static unsafe NcclConfig NonBlocking => new()
    {
        Size = (nuint)sizeof(NcclConfig),
        Magic = 0xcafebeef,
        Version = 21700,
        Blocking = 0,
        CgaClusterSize = Undefined,
        MinCtas = Undefined,
        MaxCtas = Undefined,
    };
}

/// <summary>libtorch's element types as NCCL's.</summary>
internal static class NcclTypes
{
    /// <summary>The type for a reduction; null when NCCL cannot reduce it.</summary>
    public static NcclType? Of(ScalarType type) => type switch
    {
        ScalarType.Int8 => NcclType.Int8,
        ScalarType.Byte => NcclType.UInt8,
        ScalarType.Int32 => NcclType.Int32,
        ScalarType.Int64 => NcclType.Int64,
        ScalarType.Float16 => NcclType.Float16,
        ScalarType.Float32 => NcclType.Float32,
        ScalarType.Float64 => NcclType.Float64,
        ScalarType.BFloat16 => NcclType.BFloat16,
        _ => null,
    };
}
