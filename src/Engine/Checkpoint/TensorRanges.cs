using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Reads a range of a checkpoint's tensor through a small buffer.</summary>
internal static class TensorRanges
{
    private const long BufferBytes = 16 << 20;

    /// <summary>Reads it.</summary>
    /// <param name="tensors">The checkpoint.</param>
    /// <param name="tensor">The tensor.</param>
    /// <param name="range">Which elements.</param>
    /// <param name="take">Gets each part: where it begins in the range, and its values, flat on the CPU, valid during the call.</param>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public static void Read(CheckpointTensors tensors, TensorRecord tensor, ElementRange range, Action<long, Tensor> take)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        long step = BufferBytes / ElementTypes.SizeOf(tensor.Type);
        Tensor buffer = empty(Math.Min(step, range.Length), SafetensorsReader.TypeOf(tensor.Type));
        for (long start = 0; start < range.Length; start += step)
        {
            using Tensor part = buffer.narrow(0, 0, Math.Min(step, range.Length - start));
            tensors.Read(tensor, range.Start + start, TensorMemory.Bytes(part).Span);
            take(start, part);
        }
    }
}
