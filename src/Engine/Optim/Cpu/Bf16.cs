using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>The upper half of an IEEE single.</summary>
internal readonly unsafe struct Bf16 : IFloatFormat
{
    public static int Size => sizeof(ushort);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Read(byte* from)
    {
        Vector128<ushort> bits = Vector128.Load((ushort*)from);
        return (Vector256.Create(Vector128.WidenLower(bits), Vector128.WidenUpper(bits)) << 16).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(Vector256<float> numbers, byte* to)
    {
        Vector256<uint> bits = numbers.AsUInt32();
        // Half a unit of the last place that stays, or a little less where that place is even; carries do the rest.
        Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        Vector256<uint> isNumber = Vector256.Equals(numbers, numbers).AsUInt32();
        Vector256<uint> result = Vector256.ConditionalSelect(isNumber, rounded, Vector256.Create(0x7FC0u));
        Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)to);
    }
}
