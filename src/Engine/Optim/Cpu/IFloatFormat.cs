using System.Runtime.Intrinsics;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>How eight neighbouring numbers of an element type are read and written.</summary>
internal unsafe interface IFloatFormat
{
    /// <summary>Bytes per number.</summary>
    static abstract int Size { get; }

    /// <summary>Reads eight numbers.</summary>
    static abstract Vector256<float> Read(byte* from);

    /// <summary>Writes eight numbers, rounded to the nearest, ties to even.</summary>
    static abstract void Write(Vector256<float> numbers, byte* to);
}

/// <summary>No numbers at all: the model computes in fp32, so there is no copy to write.</summary>
internal readonly unsafe struct NoCopy : IFloatFormat
{
    public static int Size => 0;

    public static Vector256<float> Read(byte* from) => default;

    public static void Write(Vector256<float> numbers, byte* to)
    {
    }
}

/// <summary>IEEE single precision.</summary>
internal readonly unsafe struct Fp32 : IFloatFormat
{
    public static int Size => sizeof(float);

    public static Vector256<float> Read(byte* from) => Vector256.Load((float*)from);

    public static void Write(Vector256<float> numbers, byte* to) => numbers.Store((float*)to);
}
