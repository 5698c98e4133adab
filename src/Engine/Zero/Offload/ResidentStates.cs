using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>States in host memory (ZeRO-Offload).</summary>
/// <param name="elements">Length of each buffer.</param>
/// <param name="isPinned">Page-locks them.</param>
internal sealed class ResidentStates(long elements, bool isPinned) : IHostStates
{
    private readonly List<TensorShard> _buffers = [];
    private Tensor[][] _pieces = [];

    public long HostBytes => _buffers.Sum(buffer => buffer.Elements * sizeof(float));

    public IShardBuffer Add(string name)
    {
        var memory = new HostMemory(elements * sizeof(float), isPinned);
        var buffer = new TensorShard(memory.View(0, elements, ScalarType.Float32), memory, isOnDevice: false);
        _buffers.Add(buffer);
        return buffer;
    }

    public void Prepare(IReadOnlyList<ElementRange> pieces) => _pieces = [.. pieces.Select(piece =>
        _buffers.Select(buffer => buffer.Tensor.narrow(0, piece.Start, piece.Length).DetachFromDisposeScope()).ToArray())];

    public IReadOnlyList<Tensor> Take(int index) => _pieces[index];

    public void Give(int index, CudaEvent? isFree)
    {
        // It never left.
    }

    public void Finish()
    {
        // Nothing is under way.
    }

    public void Dispose()
    {
        foreach (Tensor piece in _pieces.SelectMany(piece => piece))
        {
            piece.Dispose();
        }

        _buffers.ForEach(buffer => buffer.Dispose());
    }
}
