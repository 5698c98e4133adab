using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>A copy of this rank's state in host memory, from which a checkpoint is written while training goes on.</summary>
/// <remarks>The memory is kept for the next save: touching new memory costs more than copying.</remarks>
internal sealed class HostSnapshot : IDisposable
{
    private const long CopiedAtATime = 1 << 24; // elements: a state on a disk is read in parts

    private readonly Dictionary<ScalarType, Tensor> _memory = []; // flat, on the CPU

    /// <summary>Bytes held.</summary>
    public long Bytes => _memory.Values.Sum(tensor => tensor.numel() * tensor.element_size());

    /// <summary>Copies the values.</summary>
    /// <param name="pieces">What to copy.</param>
    /// <returns>The same pieces, over the copies; valid until the next call.</returns>
    public IReadOnlyList<StatePiece> Take(IReadOnlyList<StatePiece> pieces)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        var ends = new Dictionary<ScalarType, long>();
        foreach (IGrouping<ScalarType, StatePiece> group in pieces.GroupBy(piece => piece.Type))
        {
            Reserve(group.Key, group.Sum(piece => piece.Range.Length));
        }

        return [.. pieces.Select(piece =>
        {
            Tensor memory = _memory[piece.Type];
            long place = ends.GetValueOrDefault(piece.Type);
            ends[piece.Type] = place + piece.Range.Length;
            for (long start = 0; start < piece.Range.Length; start += CopiedAtATime)
            {
                long length = Math.Min(CopiedAtATime, piece.Range.Length - start);
                using Tensor values = piece.Read(new ElementRange(start, length));
                memory.narrow(0, place + start, length).copy_(values);
            }

            return piece with
            {
                Read = part => memory.narrow(0, place + part.Start, part.Length),
                Write = (_, _) => throw new NotSupportedException("a copy for a checkpoint is only read"),
            };
        })];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _memory.Values)
        {
            tensor.Dispose();
        }

        _memory.Clear();
    }

    private void Reserve(ScalarType type, long elements)
    {
        if (_memory.GetValueOrDefault(type) is not { } memory || memory.numel() < elements)
        {
            _memory.GetValueOrDefault(type)?.Dispose();
            _memory[type] = empty(elements, type).DetachFromDisposeScope();
        }
    }
}
