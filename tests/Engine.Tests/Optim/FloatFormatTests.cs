using System.Runtime.Intrinsics;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>16-bit numbers, read and written as libtorch does.</summary>
public sealed unsafe class FloatFormatTests
{
    [Fact]
    public void Read_AllBf16_AsLibtorch() => AllAgree<Bf16>(bfloat16);

    [Fact]
    public void Read_AllFp16_AsLibtorch() => AllAgree<Fp16>(float16);

    [Fact]
    public void Write_Bf16_RoundsAsLibtorch() => RoundedAlike<Bf16>(bfloat16);

    [Fact]
    public void Write_Fp16_RoundsAsLibtorch() => RoundedAlike<Fp16>(float16);

    private static void AllAgree<T>(ScalarType type)
        where T : IFloatFormat
    {
        using Tensor bits = zeros(65536, type);
        var source = (byte*)TensorMemory.Address(bits);
        for (int i = 0; i < 65536; i++)
        {
            ((ushort*)source)[i] = (ushort)i;
        }

        using Tensor expected = bits.to(float32);
        var found = new float[65536];
        for (int i = 0; i < found.Length; i += 8)
        {
            T.Read(source + i * T.Size).CopyTo(found, i);
        }

        Same(expected.data<float>().ToArray(), found);
    }

    // Every pattern of the upper 16 bits, with lower halves around ties, random ones, and all 16-bit numbers' midpoints.
    private static void RoundedAlike<T>(ScalarType type)
        where T : IFloatFormat
    {
        var random = new Random(1);
        uint[] low = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, (uint)random.Next(1 << 16)];
        float[] numbers = [.. Enumerable.Range(0, 1 << 16).SelectMany(high => low.Select(l => BitConverter.UInt32BitsToSingle(((uint)high << 16) | l)))];
        using Tensor source = tensor(numbers);
        using Tensor expected = source.to(type).to(float32);
        using Tensor found = zeros(numbers.Length, type);
        var at = (byte*)TensorMemory.Address(found);
        for (int i = 0; i < numbers.Length; i += 8)
        {
            T.Write(Vector256.Create(numbers.AsSpan(i, 8)), at + i * T.Size);
        }

        using Tensor wide = found.to(float32);
        Same(expected.data<float>().ToArray(), wide.data<float>().ToArray());
    }

    private static void Same(float[] expected, float[] found)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(BitConverter.SingleToInt32Bits(expected[i]) == BitConverter.SingleToInt32Bits(found[i])
                || (float.IsNaN(expected[i]) && float.IsNaN(found[i])), $"element {i}: expected {expected[i]}, found {found[i]}");
        }
    }
}
