using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>A tensor of the training state and the elements of it that this rank writes or wants. All that checkpoints
/// know of ZeRO: with such lists any stage saves, and any other one loads.</summary>
/// <param name="State">Null for a parameter or buffer itself, else the optimizer's name for a state of it.</param>
/// <param name="Name">Name of the parameter or buffer in the model.</param>
/// <param name="Shape">Shape of the whole tensor, the same on every rank.</param>
/// <param name="Range">This rank's elements of the tensor, flattened; may be none.</param>
internal sealed record StatePiece(string? State, string Name, IReadOnlyList<long> Shape, ElementRange Range)
{
    /// <summary>Element type of the values.</summary>
    public required ScalarType Type { get; init; }

    /// <summary>Reads some of them, counted from the start of <see cref="Range"/>: flat, on any device, a view or a copy. The
    /// caller disposes the tensor.</summary>
    public required Func<ElementRange, Tensor> Read { get; init; }

    /// <summary>Replaces some of them: the first one's place in <see cref="Range"/>, and a flat tensor of any floating type.</summary>
    public required Action<long, Tensor> Write { get; init; }

    /// <summary>Bytes of this rank's elements.</summary>
    public long Bytes => Range.Length * SafetensorsReader.SizeOf(Type);

    /// <summary>A tensor that is not sharded.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="tensor">The tensor, contiguous; lives longer than the piece.</param>
    /// <param name="isMine">False when another rank writes it.</param>
    /// <param name="state">As <see cref="State"/>.</param>
    public static StatePiece Whole(string name, Tensor tensor, bool isMine = true, string? state = null) =>
        new(state, name, tensor.shape, new ElementRange(0, isMine ? tensor.numel() : 0))
        {
            Type = tensor.dtype,
            Read = part => Part(tensor, part.Start, part.Length),
            Write = (start, values) =>
            {
                using Tensor place = Part(tensor, start, values.numel());
                place.copy_(values);
            },
        };

    private static Tensor Part(Tensor tensor, long start, long length)
    {
        using Tensor flat = tensor.view(-1);
        return flat.narrow(0, start, length);
    }
}
