using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The parameters and buffers of a checkpoint, read when asked for.</summary>
public sealed class CheckpointWeights
{
    private readonly CheckpointTensors _tensors;
    private readonly Dictionary<string, TensorRecord> _model;

    internal CheckpointWeights(CheckpointTensors tensors)
    {
        _tensors = tensors;
        _model = tensors.Manifest.Model.ToDictionary(t => t.Name);
    }

    /// <summary>Their names.</summary>
    public IReadOnlyCollection<string> Names => _model.Keys;

    /// <summary>Shape of one.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    public IReadOnlyList<long> ShapeOf(string name) => _model[name].Shape;

    /// <summary>Reads one.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <returns>A CPU tensor in its shape, parameters in fp32; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public Tensor Read(string name)
    {
        TensorRecord tensor = _model[name];
        using DisposeScope scope = NewDisposeScope();
        Tensor whole = empty([.. tensor.Shape], SafetensorsReader.TypeOf(tensor.Type));
        Tensor flat = whole.view(-1);
        TensorRanges.Read(_tensors, tensor, new ElementRange(0, tensor.Elements),
            (start, values) => flat.narrow(0, start, values.numel()).copy_(values));
        return whole.MoveToOuterDisposeScope();
    }
}
