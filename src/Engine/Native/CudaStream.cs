using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>A queue of work of a GPU beside libtorch's own.</summary>
/// <remarks>Non-blocking: the default stream, which libtorch works on, does not wait for it, nor it for that one; events order
/// the two.</remarks>
internal sealed unsafe class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;

    private static readonly delegate* unmanaged<nint*, uint, int, int> CreateWithPriority =
        (delegate* unmanaged<nint*, uint, int, int>)CudaRuntime.Symbol("cudaStreamCreateWithPriority");

    private static readonly delegate* unmanaged<int*, int*, int> PriorityRange =
        (delegate* unmanaged<int*, int*, int>)CudaRuntime.Symbol("cudaDeviceGetStreamPriorityRange");

    private static readonly delegate* unmanaged<nint, int> Query = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaStreamQuery");
    private static readonly delegate* unmanaged<nint, int> Destroy = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaStreamDestroy");

    private static readonly Lazy<nint> CurrentStream = new(() => NativeLibrary.GetExport(
        NativeLibrary.Load("torch_cuda", typeof(torch).Assembly, null), "aoti_torch_get_current_cuda_stream"));

    private nint _stream;

    /// <summary>Creates a stream of the highest priority, so that its work begins before what the compute stream still has to do.</summary>
    /// <param name="device">Index of the GPU.</param>
    public CudaStream(int device)
    {
        using CudaDevice.Scope scope = CudaDevice.Use(device);
        int least, greatest;
        CudaRuntime.Check(PriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
        nint created;
        CudaRuntime.Check(CreateWithPriority(&created, NonBlocking, greatest), "cudaStreamCreateWithPriority");
        _stream = created;
    }

    /// <summary>CUDA's handle.</summary>
    public nint Handle => _stream;

    /// <summary>Whether all of its work is done.</summary>
    public bool IsDone => Query(_stream) == 0;

    /// <summary>The stream that libtorch queues work on, on this thread.</summary>
    /// <param name="device">Index of the GPU.</param>
    public static nint Current(int device)
    {
        nint stream;
        CudaRuntime.Check(((delegate* unmanaged<int, nint*, int>)CurrentStream.Value)(device, &stream), "aoti_torch_get_current_cuda_stream");
        return stream;
    }

    public void Dispose()
    {
        if (_stream != 0)
        {
            _ = Destroy(_stream);
            _stream = 0;
        }
    }
}
