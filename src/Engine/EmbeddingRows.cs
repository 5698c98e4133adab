using System.Runtime.InteropServices;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>Sums an embedding's gradient over ranks by sending only the rows that a batch has touched
/// (<c>sparse_gradients</c>).</summary>
/// <remarks>
/// Each rank sends (row numbers, rows); all add them up in the order of ranks, so the result has the same bits
/// everywhere. When the rows of all ranks together are more than an all-reduce would move (a tied output layer
/// touches all of them), every rank takes the all-reduce instead: the choice depends on numbers that all ranks have.
/// </remarks>
/// <param name="gradient">[rows, columns] view of the flat gradients.</param>
/// <param name="name">The parameter, for messages.</param>
internal sealed class EmbeddingRows(Tensor gradient, string name) : IDisposable
{
    private readonly long _rows = gradient.shape[0];
    private readonly long _columns = gradient.shape[1];

    /// <summary>Starts the sum, in place.</summary>
    public async Task SumAsync(ProcessGroup group)
    {
        long[] touched = Touched();
        byte[][] counts = await group.AllGatherAsync(BitConverter.GetBytes((long)touched.Length), $"row counts of {name}").ConfigureAwait(false);
        long most = counts.Max(count => BitConverter.ToInt64(count));
        int size = (int)gradient.element_size();
        // A ring gather moves (W-1) blocks of the largest rank, a ring all-reduce 2 (W-1)/W of the whole.
        if (most * (_columns * size + sizeof(long)) * group.WorldSize >= 2 * _rows * _columns * size)
        {
            await group.AllReduceAsync(gradient, $"gradient of {name}").ConfigureAwait(false);
            return;
        }

        byte[][] blocks = await group.AllGatherAsync(Pack(touched), $"gradient rows of {name}").ConfigureAwait(false);
        AddUp(blocks);
    }

    public void Dispose() => gradient.Dispose();

    private long[] Touched()
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Tensor rows = gradient.ne(0).any(1).nonzero().view(-1).cpu();
        return rows.numel() == 0 ? [] : MemoryMarshal.Cast<byte, long>(TensorMemory.Bytes(rows).Span).ToArray();
    }

    // Row numbers, then the rows.
    private byte[] Pack(long[] touched)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        ReadOnlySpan<byte> numbers = MemoryMarshal.AsBytes<long>(touched);
        if (touched.Length == 0)
        {
            return [];
        }

        Tensor values = gradient.index_select(0, tensor(touched).to(gradient.device)).cpu().contiguous();
        return [.. numbers, .. TensorMemory.Bytes(values).Span];
    }

    private void AddUp(byte[][] blocks)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        gradient.zero_();
        int bytesPerRow = sizeof(long) + (int)(_columns * gradient.element_size());
        foreach (byte[] block in blocks.Where(block => block.Length > 0))
        {
            int count = block.Length / bytesPerRow;
            long[] numbers = MemoryMarshal.Cast<byte, long>(block.AsSpan(0, count * sizeof(long))).ToArray();
            Tensor values = empty([count, _columns], gradient.dtype);
            block.AsSpan(count * sizeof(long)).CopyTo(TensorMemory.Bytes(values).Span);
            gradient.index_add_(0, tensor(numbers).to(gradient.device), values.to(gradient.device), 1);
        }
    }
}
