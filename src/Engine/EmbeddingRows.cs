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
    /// <param name="group">The ranks.</param>
    /// <param name="travelling">Element type of the rows between ranks; the sum is made in it.</param>
    public async Task SumAsync(ProcessGroup group, ScalarType travelling)
    {
        long[] touched = Touched();
        Tensor sum = gradient.dtype == travelling ? gradient : gradient.to(travelling).DetachFromDisposeScope();
        try
        {
            await group.InTurnAsync(() => SumNowAsync(group, sum, touched), "rows of an embedding").ConfigureAwait(false);
            if (!ReferenceEquals(sum, gradient))
            {
                using IDisposable noGrad = no_grad();
                gradient.copy_(sum).DetachFromDisposeScope();
            }
        }
        finally
        {
            if (!ReferenceEquals(sum, gradient))
            {
                sum.Dispose();
            }
        }
    }

    private async Task SumNowAsync(ProcessGroup group, Tensor sum, long[] touched)
    {
        byte[][] counts = await group.GatherNowAsync(BitConverter.GetBytes((long)touched.Length), $"row counts of {name}").ConfigureAwait(false);
        long most = counts.Max(count => BitConverter.ToInt64(count));
        int size = (int)sum.element_size();
        // A ring gather moves (W-1) blocks of the largest rank, a ring all-reduce 2 (W-1)/W of the whole.
        if (most * (_columns * size + sizeof(long)) * group.WorldSize >= 2 * _rows * _columns * size)
        {
            await group.ReduceNowAsync(sum, $"gradient of {name}").ConfigureAwait(false);
            return;
        }

        AddUp(sum, await group.GatherNowAsync(Pack(sum, touched), $"gradient rows of {name}").ConfigureAwait(false));
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
    private static byte[] Pack(Tensor sum, long[] touched)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        ReadOnlySpan<byte> numbers = MemoryMarshal.AsBytes<long>(touched);
        if (touched.Length == 0)
        {
            return [];
        }

        Tensor values = sum.index_select(0, tensor(touched).to(sum.device)).cpu().contiguous();
        return [.. numbers, .. TensorMemory.Bytes(values).Span];
    }

    private void AddUp(Tensor sum, byte[][] blocks)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        sum.zero_();
        int bytesPerRow = sizeof(long) + (int)(_columns * sum.element_size());
        foreach (byte[] block in blocks.Where(block => block.Length > 0))
        {
            int count = block.Length / bytesPerRow;
            long[] numbers = MemoryMarshal.Cast<byte, long>(block.AsSpan(0, count * sizeof(long))).ToArray();
            Tensor values = empty([count, _columns], sum.dtype);
            block.AsSpan(count * sizeof(long)).CopyTo(TensorMemory.Bytes(values).Span);
            sum.index_add_(0, tensor(numbers).to(sum.device), values.to(sum.device), 1);
        }
    }
}
