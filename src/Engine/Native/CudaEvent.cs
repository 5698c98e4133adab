namespace DeepSpeedSharp.Engine.Native;

/// <summary>A mark in the GPU's queue of work: set now, waited for later without draining what was queued after it.</summary>
/// <remarks>CUDA's runtime, which libtorch has loaded. An event belongs to the device that was current when it was made.</remarks>
internal sealed unsafe class CudaEvent : IDisposable
{
    // Waiting sleeps instead of spinning, and nothing is timed.
    private const uint BlockingSync = 1, DisableTiming = 2;

    private static readonly delegate* unmanaged<nint*, uint, int> Create =
        (delegate* unmanaged<nint*, uint, int>)CudaRuntime.Symbol("cudaEventCreateWithFlags");

    private static readonly delegate* unmanaged<nint, nint, int> RecordOn =
        (delegate* unmanaged<nint, nint, int>)CudaRuntime.Symbol("cudaEventRecord");

    private static readonly delegate* unmanaged<nint, int> Query = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaEventQuery");
    private static readonly delegate* unmanaged<nint, int> Synchronize = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaEventSynchronize");
    private static readonly delegate* unmanaged<nint, nint, uint, int> StreamWait =
        (delegate* unmanaged<nint, nint, uint, int>)CudaRuntime.Symbol("cudaStreamWaitEvent");

    private static readonly delegate* unmanaged<nint, int> Destroy = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaEventDestroy");

    private nint _event;

    /// <summary>Creates an event. Only where <see cref="IsAvailable"/>.</summary>
    public CudaEvent()
    {
        nint created;
        CudaRuntime.Check(Create(&created, BlockingSync | DisableTiming), "cudaEventCreateWithFlags");
        _event = created;
    }

    /// <summary>Whether CUDA's runtime could be found.</summary>
    public static bool IsAvailable => CudaRuntime.Library != 0;

    /// <summary>Whether the GPU has come past the mark.</summary>
    public bool IsDone => Query(_event) == 0;

    /// <summary>Sets the mark behind everything queued so far.</summary>
    /// <param name="stream">On which stream of the current device.</param>
    public void Record(nint stream) => CudaRuntime.Check(RecordOn(_event, stream), "cudaEventRecord");

    /// <summary>Makes what is queued on a stream from now on wait for the mark; the calling thread goes on.</summary>
    public void HoldBack(nint stream) => CudaRuntime.Check(StreamWait(stream, _event, 0), "cudaStreamWaitEvent");

    /// <summary>Waits until the GPU has come past the mark.</summary>
    public void Wait() => CudaRuntime.Check(Synchronize(_event), "cudaEventSynchronize");

    public void Dispose()
    {
        if (_event != 0)
        {
            _ = Destroy(_event);
            _event = 0;
        }
    }
}
