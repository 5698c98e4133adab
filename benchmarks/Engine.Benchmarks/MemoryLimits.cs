using System.Runtime.Intrinsics;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>How fast this machine moves memory, by the threads and blocks that the optimizer uses.</summary>
/// <remarks>McCalpin, "Memory bandwidth and machine balance in current high performance computers", 1995: copy and
/// triad. Buffers keep no meaningful values.</remarks>
internal sealed unsafe class MemoryLimits : IDisposable
{
    private const long Block = 1 << 15;

    private readonly float* _a;
    private readonly float* _b;
    private readonly float* _c;
    private readonly float* _d;
    private readonly Tensor _scratch;
    private readonly long _length;
    private readonly BlockLoop _copy;
    private readonly BlockLoop _triad;
    private readonly BlockLoop _likeAdam;

    public MemoryLimits(Tensor b, Tensor c, Tensor d)
    {
        _length = b.numel() / 8 * 8;
        _scratch = zeros_like(b);
        (nint pa, nint pb, nint pc, nint pd) = (TensorMemory.Address(_scratch), TensorMemory.Address(b), TensorMemory.Address(c), TensorMemory.Address(d));
        _a = (float*)pa;
        _b = (float*)pb;
        _c = (float*)pc;
        _d = (float*)pd;
        int threads = Math.Min(get_num_threads(), Environment.ProcessorCount);
        _copy = new BlockLoop(CopyBlock, threads);
        _triad = new BlockLoop(TriadBlock, threads);
        _likeAdam = new BlockLoop(LikeAdamBlock, threads);
    }

    /// <summary>a = b.</summary>
    public void Copy() => _copy.Run((_length + Block - 1) / Block);

    /// <summary>a = b + 3 c.</summary>
    public void Triad() => _triad.Run((_length + Block - 1) / Block);

    /// <summary>a, c and d, each plus b times zero: what Adam reads and writes, and hardly any arithmetic.</summary>
    public void LikeAdam() => _likeAdam.Run((_length + Block - 1) / Block);

    public void Dispose() => _scratch.Dispose();

    private void CopyBlock(long block)
    {
        for (long i = block * Block, end = Math.Min(_length, i + Block); i < end; i += 8)
        {
            Vector256.Load(_b + i).Store(_a + i);
        }
    }

    private void TriadBlock(long block)
    {
        for (long i = block * Block, end = Math.Min(_length, i + Block); i < end; i += 8)
        {
            (Vector256.Load(_b + i) + Vector256.Load(_c + i) * 3f).Store(_a + i);
        }
    }

    private void LikeAdamBlock(long block)
    {
        for (long i = block * Block, end = Math.Min(_length, i + Block); i < end; i += 8)
        {
            Vector256<float> nothing = Vector256.Load(_b + i) * 0f;
            (Vector256.Load(_a + i) + nothing).Store(_a + i);
            (Vector256.Load(_c + i) + nothing).Store(_c + i);
            (Vector256.Load(_d + i) + nothing).Store(_d + i);
        }
    }
}
