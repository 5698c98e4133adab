using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>The L2 norm of a tensor of any floating type, summed up and returned in fp32.</summary>
/// <remarks>TorchSharp's <c>norm</c> of a 16-bit tensor returns 16 bits, which is two or three digits of it. libtorch's
/// vector norm takes a Scalar, which the C dispatcher cannot carry; the general norm means the same when it is given
/// neither order nor dimensions.</remarks>
internal static class WideNorm
{
    /// <summary>The norm, without waiting for a GPU.</summary>
    /// <param name="flat">[n], contiguous, n at least 1.</param>
    /// <returns>Scalar fp32; the caller disposes it.</returns>
    public static Tensor Of(Tensor flat)
    {
        if (flat.dtype == torch.float32)
        {
            return flat.norm();
        }

        Span<ulong> stack =
        [
            Dispatcher.Of(flat), 0 /* order */, 0 /* dimensions */, Dispatcher.Of(false),
            Dispatcher.OfOptional((long)torch.ScalarType.Float32),
        ];
        Dispatcher.Call("aten::linalg_norm"u8, stack);
        return Dispatcher.Take(stack[0]);
    }
}
