using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>A mark in the GPU's queue of work: set now, waited for later without draining what was queued after it.</summary>
/// <remarks>CUDA's runtime, which libtorch has loaded; on PyTorch's current stream, which is the default one here.</remarks>
internal sealed unsafe class CudaEvent : IDisposable
{
    // Waiting sleeps instead of spinning, and nothing is timed.
    private const uint BlockingSync = 1, DisableTiming = 2;

    private static readonly nint Runtime = CudaRuntime.Library;

    private static readonly delegate* unmanaged<nint*, uint, int> Create =
        (delegate* unmanaged<nint*, uint, int>)Symbol("cudaEventCreateWithFlags");

    private static readonly delegate* unmanaged<nint, nint, int> RecordOn =
        (delegate* unmanaged<nint, nint, int>)Symbol("cudaEventRecord");

    private static readonly delegate* unmanaged<nint, int> Query = (delegate* unmanaged<nint, int>)Symbol("cudaEventQuery");
    private static readonly delegate* unmanaged<nint, int> Synchronize = (delegate* unmanaged<nint, int>)Symbol("cudaEventSynchronize");
    private static readonly delegate* unmanaged<nint, int> Destroy = (delegate* unmanaged<nint, int>)Symbol("cudaEventDestroy");

    private nint _event;

    /// <summary>Creates an event. Only where <see cref="IsAvailable"/>.</summary>
    public CudaEvent()
    {
        nint created;
        Check(Create(&created, BlockingSync | DisableTiming), "cudaEventCreateWithFlags");
        _event = created;
    }

    /// <summary>Whether CUDA's runtime could be found.</summary>
    public static bool IsAvailable => Runtime != 0;

    /// <summary>Whether the GPU has come past the mark.</summary>
    public bool IsDone => Query(_event) == 0;

    /// <summary>Sets the mark behind everything queued so far.</summary>
    public void Record() => Record(0);

    /// <summary>Sets the mark behind everything queued so far on another stream than the default one.</summary>
    public void Record(nint stream) => Check(RecordOn(_event, stream), "cudaEventRecord");

    /// <summary>The event itself, for CUDA's functions.</summary>
    public nint Handle => _event;

    /// <summary>Waits until the GPU has come past the mark.</summary>
    public void Wait() => Check(Synchronize(_event), "cudaEventSynchronize");

    public void Dispose()
    {
        if (_event != 0)
        {
            _ = Destroy(_event);
            _event = 0;
        }
    }

    private static nint Symbol(string name) => Runtime == 0 ? 0 : NativeLibrary.GetExport(Runtime, name);

    private static void Check(int status, string function)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{function} failed with CUDA error {status}");
        }
    }
}
