using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Gives a tensor's memory back while the tensor, its views and what autograd saved of it live on, and takes
/// memory for them again.</summary>
/// <remarks>
/// Autograd keeps views of a weight, such as its transpose, that share its storage; pointing the weight elsewhere would
/// leave that storage alive. Resizing the storage itself reaches all of them, and does not count as a change in place.
/// Reading a tensor of an empty storage ends the process, so nothing but the owner may hold one that is in use.
/// libtorch exports the functions that resize a storage; they throw through C when memory is short, so only shrinking
/// goes to them and growing to the operator <c>resize_</c>, behind the dispatcher's barrier.
/// </remarks>
internal static unsafe class StorageMemory
{
    private static readonly delegate* unmanaged<nint, nuint, void> ResizeOnCpu =
        (delegate* unmanaged<nint, nuint, void>)Symbols.OfTorch("_ZN2at6native16resize_bytes_cpuEPN3c1011StorageImplEm");

    private static readonly Lazy<nint> ResizeOnCuda = new(() => NativeLibrary.GetExport(
        NativeLibrary.Load("torch_cuda", typeof(torch).Assembly, null), "_ZN2at6native17resize_bytes_cudaEPN3c1011StorageImplEm"));

    /// <summary>Frees the memory of a one-dimensional tensor and of all its views; the tensor has no elements afterwards,
    /// its views keep their shapes.</summary>
    /// <param name="tensor">The tensor, on the CPU or a GPU.</param>
    public static void Free(Tensor tensor)
    {
        Resize(tensor, 0);
        nint storage = StorageOf(tensor);
        if (tensor.device_type == DeviceType.CUDA)
        {
            ((delegate* unmanaged<nint, nuint, void>)ResizeOnCuda.Value)(storage, 0);
        }
        else
        {
            ResizeOnCpu(storage, 0);
        }
    }

    /// <summary>Takes memory for a one-dimensional tensor again, of any content.</summary>
    /// <param name="tensor">What <see cref="Free"/> was called with.</param>
    /// <param name="elements">As many as before.</param>
    /// <exception cref="InvalidOperationException">There is not enough memory.</exception>
    public static void Take(Tensor tensor, long elements) => Resize(tensor, elements);

    private static void Resize(Tensor tensor, long elements)
    {
        Span<ulong> stack = [Dispatcher.Of(tensor), Dispatcher.OfNumbers([elements]), 0];
        Dispatcher.Call("aten::resize_"u8, stack);
        Dispatcher.Take(stack[0]).Dispose();
    }

    // A handle is a pointer to a TensorImpl*, whose words are: functions, reference counts, storage.
    private static nint StorageOf(Tensor tensor) => (*(nint**)tensor.Handle)[2];
}
