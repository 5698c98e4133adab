using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <content>What checkpoints read and write.</content>
internal sealed partial class FlatParameters
{
    private const long CopiedAtATime = 1 << 24; // elements: masters may be on a disk

    /// <summary>What this rank has of every parameter in a buffer of the optimizer.</summary>
    /// <param name="state">Null for <see cref="MasterState"/>, else the buffer's name.</param>
    /// <param name="buffer">[own].</param>
    public IEnumerable<StatePiece> Pieces(string? state, IShardBuffer buffer) => Pieces(state, buffer, Shards, _sharding.Rank);

    /// <summary>What this rank writes of every parameter to a checkpoint: each element is one rank's.</summary>
    /// <param name="state">As for <see cref="Pieces(string?, IShardBuffer)"/>.</param>
    /// <param name="buffer">[own].</param>
    /// <param name="group">The ranks. Where all have everything, each writes an equal share.</param>
    public IEnumerable<StatePiece> PiecesToSave(string? state, IShardBuffer buffer, ProcessGroup group) => _sharding.IsOn
        ? Pieces(state, buffer) : Pieces(state, buffer, ShardMap.Over(Shards.Elements, group.WorldSize, AlignmentElements), group.Rank);

    private IEnumerable<StatePiece> Pieces(string? state, IShardBuffer buffer, ShardMap shares, int rank) => Slots.Select(slot =>
    {
        ShardSegment part = IsPartitioned ? SegmentOf(rank, slot) : shares.SegmentOf(rank, slot.Range);
        long offset = IsPartitioned ? part.ShardOffset : slot.Offset + part.ParameterOffset - Own.Start;
        return new StatePiece(state, slot.Name, slot.Shape, new ElementRange(part.ParameterOffset, part.Length))
        {
            Type = float32,
            Read = range => buffer.Read(range with { Start = offset + range.Start }),
            Write = (start, values) => buffer.Write(offset + start, values),
        };
    });

    /// <summary>Rounds masters that a checkpoint has replaced to this rank's weights; the others' are still to be gathered.</summary>
    /// <param name="keepsMasters">False rounds the masters as well.</param>
    public void RoundMasters(bool keepsMasters)
    {
        using IDisposable noGrad = no_grad();
        for (long start = 0; HasMasters && start < Own.Length; start += CopiedAtATime)
        {
            using DisposeScope scope = NewDisposeScope();
            var part = new ElementRange(start, Math.Min(CopiedAtATime, Own.Length - start));
            Tensor rounded = MasterState.Read(part).to(OwnWeights.dtype);
            if (WeightShards is { } shards)
            {
                shards.Write(part, rounded);
            }
            else
            {
                OwnWeights.narrow(0, start, part.Length).copy_(rounded);
            }

            if (!keepsMasters)
            {
                MasterState.Write(start, rounded);
            }
        }
    }
}
