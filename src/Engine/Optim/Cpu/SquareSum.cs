using System.Runtime.Intrinsics;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>The sum of the squares of numbers in main memory, in double precision, by all cores.</summary>
/// <remarks>Blocks have a fixed size and are added up in order, so the sum does not depend on how many threads there are.</remarks>
internal sealed unsafe class SquareSum
{
    private const long Block = 1 << 16;
    private const int Width = 8;

    private readonly BlockLoop _loop;
    private double[] _sums = [];
    private byte* _values;
    private long _length;
    private ScalarType _type;

    /// <param name="threads">How many threads work; null means as many as libtorch's.</param>
    public SquareSum(int? threads = null) => _loop = new BlockLoop(AddBlock, threads ?? Math.Min(get_num_threads(), Environment.ProcessorCount));

    /// <summary>Sums up. One call at a time.</summary>
    /// <param name="values">[n] fp32, bf16 or fp16, contiguous, on the CPU.</param>
    /// <returns>Not finite when a value is not.</returns>
    public double Of(Tensor values)
    {
        if (values.device_type != TorchSharp.DeviceType.CPU || !values.is_contiguous())
        {
            throw new ArgumentException("only contiguous main memory can be summed up here", nameof(values));
        }

        _values = (byte*)TensorMemory.Address(values);
        (_length, _type) = (values.numel(), values.dtype);
        long blocks = (_length + Block - 1) / Block;
        if (_sums.Length < blocks)
        {
            _sums = new double[blocks];
        }

        _loop.Run(blocks);
        double sum = 0;
        for (long i = 0; i < blocks; i++)
        {
            sum += _sums[i];
        }

        return sum;
    }

    private void AddBlock(long block)
    {
        long start = block * Block, count = Math.Min(Block, _length - start);
        _sums[block] = _type switch
        {
            ScalarType.Float32 => Squares<Fp32>(_values + start * Fp32.Size, count),
            ScalarType.BFloat16 => Squares<Bf16>(_values + start * Bf16.Size, count),
            ScalarType.Float16 => Squares<Fp16>(_values + start * Fp16.Size, count),
            _ => throw new ArgumentException($"gradients of {_type} are not supported; they may be fp32, bf16 or fp16"),
        };
    }

    private static double Squares<T>(byte* from, long count)
        where T : IFloatFormat
    {
        Vector256<double> low = Vector256<double>.Zero, high = Vector256<double>.Zero;
        long i = 0;
        for (; i <= count - Width; i += Width)
        {
            Vector256<float> v = T.Read(from + i * T.Size);
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(v);
            low += a * a;
            high += b * b;
        }

        if (i < count)
        {
            float* rest = stackalloc float[Width];
            new Span<float>(rest, Width).Clear();
            Buffer.MemoryCopy(from + i * T.Size, rest, Width * sizeof(float), (count - i) * T.Size);
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(T.Read((byte*)rest));
            low += a * a;
            high += b * b;
        }

        return Vector256.Sum(low + high);
    }
}
