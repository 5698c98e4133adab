using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>A copy of this rank's state in host memory, from which a checkpoint is written while training goes on.</summary>
/// <remarks>The memory is kept for the next save: touching new memory costs more than copying.</remarks>
internal sealed class HostSnapshot : IDisposable
{
    private Tensor? _memory; // [bytes] on the CPU

    /// <summary>Bytes held.</summary>
    public long Bytes => _memory?.numel() ?? 0;

    /// <summary>Copies the values.</summary>
    /// <param name="pieces">What to copy; not in use before any more once this returns.</param>
    /// <returns>The same pieces, over the copies; valid until the next call.</returns>
    public IReadOnlyList<StatePiece> Take(IReadOnlyList<StatePiece> pieces)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        const long Alignment = 64;
        long[] offsets = new long[pieces.Count + 1];
        for (int i = 0; i < pieces.Count; i++)
        {
            offsets[i + 1] = (offsets[i] + pieces[i].Bytes + Alignment - 1) / Alignment * Alignment;
        }

        if (_memory is null || _memory.numel() < offsets[^1])
        {
            _memory?.Dispose();
            _memory = empty(offsets[^1], uint8).DetachFromDisposeScope();
        }

        var copies = new StatePiece[pieces.Count];
        for (int i = 0; i < copies.Length; i++)
        {
            StatePiece piece = pieces[i];
            Tensor place = _memory.narrow(0, offsets[i], piece.Bytes).view(piece.Type).DetachFromDisposeScope();
            if (piece.Range.Length > 0)
            {
                using Tensor values = piece.Get();
                place.copy_(values);
            }

            copies[i] = StatePiece.Of(piece.State, piece.Name, piece.Shape, piece.Range, piece.Type, () => place);
        }

        return copies;
    }

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();
}
