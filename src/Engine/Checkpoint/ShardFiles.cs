using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>How a rank's files are written: <c>checkpoint.writer</c>.</summary>
/// <param name="BufferBytes">Bytes that go to the disk at a time.</param>
/// <param name="Overlaps">Whether the next buffer is filled while one is being written.</param>
internal sealed record WritePace(int BufferBytes = 16 << 20, bool Overlaps = true);

/// <summary>The two files of a rank: what it has of the model, and what it has of the optimizer's state.</summary>
internal static class ShardFiles
{
    /// <summary>File of the parameters; DeepSpeed's name with another ending. There is one model-parallel rank.</summary>
    public static string ModelFile(int rank) => $"zero_pp_rank_{rank}_mp_rank_00_model_states.safetensors";

    /// <summary>File of the optimizer's state and of the rank's random numbers.</summary>
    public static string OptimizerFile(int rank) => $"zero_pp_rank_{rank}_mp_rank_00_optim_states.safetensors";

    /// <summary>What a rank's own state is called: not by a parameter.</summary>
    public static string OwnName(int rank) => $"rank_{rank:00000}";

    /// <summary>Writes both files and puts them on disk. A rank without elements writes none.</summary>
    /// <param name="folder">Where to; it exists.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="pieces">What it writes.</param>
    /// <param name="pace">How.</param>
    public static RankPart Write(string folder, int rank, IReadOnlyList<StatePiece> pieces, WritePace pace)
    {
        // A tensor without elements is nobody's; the first rank says that it is there.
        StatePiece[] mine = [.. pieces.Where(p => p.Range.Length > 0 || (rank == 0 && ElementTypes.Elements(p.Shape) == 0))];
        RankPart model = WriteFile(Path.Combine(folder, ModelFile(rank)), [.. mine.Where(p => p.State is null)], pace);
        RankPart states = WriteFile(Path.Combine(folder, OptimizerFile(rank)), [.. mine.Where(p => p.State is not null)], pace);
        DurableFiles.SyncFolder(folder);
        return new RankPart([.. model.Files, .. states.Files], [.. model.Tensors, .. states.Tensors]);
    }

    /// <summary>Writes a file and puts it on disk; of tensors on a GPU, a buffer at a time is copied to the host.</summary>
    /// <param name="path">The file; overwritten.</param>
    /// <param name="pieces">What is in it.</param>
    /// <param name="pace">How.</param>
    public static RankPart WriteFile(string path, IReadOnlyList<StatePiece> pieces, WritePace pace)
    {
        if (pieces.Count == 0)
        {
            return RankPart.Nothing;
        }

        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using var file = new SafetensorsFileWriter(path, [.. pieces.Select(Entry)], pace.Overlaps);
        var tensors = new List<TensorRecord>();
        Tensor? inFlight = null; // its memory is on the way to the disk
        foreach (StatePiece piece in pieces)
        {
            long step = Math.Max(1, pace.BufferBytes / SafetensorsReader.SizeOf(piece.Type));
            for (long start = 0; start < piece.Range.Length; start += step)
            {
                using Tensor part = piece.Read(new ElementRange(start, Math.Min(step, piece.Range.Length - start)));
                Tensor host = part.detach().cpu().contiguous();
                file.Append(TensorMemory.Bytes(host));
                inFlight?.Dispose();
                inFlight = host;
            }

            string name = Path.GetFileName(path);
            tensors.Add(new TensorRecord(piece.Name, SafetensorsReader.NameOf(piece.Type), piece.Shape,
                [new PieceRecord(name, piece.Range.Start, piece.Range.Length, file.EndTensor())], piece.State));
        }

        return new RankPart([file.Complete()], tensors);
    }

    private static (string Name, string Type, IReadOnlyList<long> Shape) Entry(StatePiece piece)
    {
        long elements = ElementTypes.Elements(piece.Shape);
        bool isWhole = piece.Range == new ElementRange(0, elements);
        return (TensorRecord.EntryName(piece.State, piece.Name, piece.Range.Start, piece.Range.Length, elements),
            SafetensorsReader.NameOf(piece.Type), isWhole ? piece.Shape : [piece.Range.Length]);
    }
}
