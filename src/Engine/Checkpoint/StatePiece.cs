using TorchSharp;
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
    /// <summary>Element type of what <see cref="Get"/> gives.</summary>
    public required ScalarType Type { get; init; }

    /// <summary>The values: [Range.Length] on any device. The caller disposes the tensor.</summary>
    public required Func<Tensor> Get { get; init; }

    /// <summary>Replaces values: the first one's offset in the range, and a flat CPU tensor of any type.</summary>
    public required Action<long, Tensor> Set { get; init; }

    /// <summary>Whether what <see cref="Get"/> gives is the state itself, so that writing to it is enough.</summary>
    public bool IsView { get; init; }

    /// <summary>Bytes of this rank's elements.</summary>
    public long Bytes => Range.Length * SafetensorsReader.SizeOf(Type);

    /// <summary>A piece that lies in memory.</summary>
    /// <param name="state">As <see cref="State"/>.</param>
    /// <param name="name">As <see cref="Name"/>.</param>
    /// <param name="shape">As <see cref="Shape"/>.</param>
    /// <param name="range">As <see cref="Range"/>.</param>
    /// <param name="type">Its element type.</param>
    /// <param name="view">Makes a flat view of the values.</param>
    public static StatePiece Of(string? state, string name, IReadOnlyList<long> shape, ElementRange range, ScalarType type, Func<Tensor> view) =>
        new(state, name, shape, range)
        {
            Type = type,
            Get = view,
            IsView = true,
            Set = (offset, values) =>
            {
                using DisposeScope scope = NewDisposeScope();
                view().narrow(0, offset, values.numel()).copy_(values);
            },
        };

    /// <summary>A whole tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="tensor">The tensor, contiguous; lives longer than the piece.</param>
    /// <param name="isMine">Whether this rank has anything to do with it.</param>
    /// <param name="state">As <see cref="State"/>.</param>
    public static StatePiece Whole(string name, Tensor tensor, bool isMine = true, string? state = null) =>
        Of(state, name, tensor.shape, new ElementRange(0, isMine ? tensor.numel() : 0), tensor.dtype, () => tensor.view(-1));
}
