namespace DeepSpeedSharp.Engine.Native;

/// <summary>A queue of a GPU for copies between host and device, beside the one that computes.</summary>
/// <remarks>What is copied belongs to the stream until an event that was recorded after the copy has passed. Copies from and
/// to memory that is not page-locked hold the calling thread up; they are right all the same.</remarks>
internal sealed unsafe class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;
    private const int DirectionFromAddresses = 4;

    private static readonly delegate* unmanaged<nint*, uint, int> Create = (delegate* unmanaged<nint*, uint, int>)CudaRuntime.Symbol("cudaStreamCreateWithFlags");
    private static readonly delegate* unmanaged<nint, int> Destroy = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaStreamDestroy");
    private static readonly delegate* unmanaged<nint, int> Drain = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaStreamSynchronize");
    private static readonly delegate* unmanaged<nint, nint, uint, int> WaitEvent = (delegate* unmanaged<nint, nint, uint, int>)CudaRuntime.Symbol("cudaStreamWaitEvent");
    private static readonly delegate* unmanaged<nint, nint, nuint, int, nint, int> CopyNow =
        (delegate* unmanaged<nint, nint, nuint, int, nint, int>)CudaRuntime.Symbol("cudaMemcpyAsync");

    private static readonly delegate* unmanaged<int*, int> GetDevice = (delegate* unmanaged<int*, int>)CudaRuntime.Symbol("cudaGetDevice");
    private static readonly delegate* unmanaged<int, int> SetDevice = (delegate* unmanaged<int, int>)CudaRuntime.Symbol("cudaSetDevice");

    private readonly int _device;
    private nint _stream;

    /// <param name="device">Index of the GPU.</param>
    public CudaStream(int device)
    {
        _device = Math.Max(0, device);
        if (Create == null || WaitEvent == null || CopyNow == null)
        {
            throw new NativeBackendException("CUDA's runtime, which libtorch came with, cannot be called, so nothing can be offloaded from the GPU; "
                + "use \"device\": \"none\", or put the runtime (libcudart) on LD_LIBRARY_PATH");
        }

        OnDevice(() =>
        {
            nint created;
            Check(Create(&created, NonBlocking), "cudaStreamCreateWithFlags");
            _stream = created;
        });
    }

    /// <summary>Starts a copy of bytes.</summary>
    /// <param name="destination">Address, in host or device memory.</param>
    /// <param name="source">Address, in host or device memory.</param>
    /// <param name="bytes">How many.</param>
    public void Copy(nint destination, nint source, long bytes)
    {
        if (bytes > 0)
        {
            OnDevice(() => Check(CopyNow(destination, source, (nuint)bytes, DirectionFromAddresses, _stream), "cudaMemcpyAsync"));
        }
    }

    /// <summary>Makes what is started here next come after everything that the computing stream has been given so far.</summary>
    public void AfterComputing() => OnDevice(() =>
    {
        using var now = new CudaEvent();
        now.Record();
        Check(WaitEvent(_stream, now.Handle, 0), "cudaStreamWaitEvent");
    });

    /// <summary>Makes what the computing stream is given next come after an event of this stream.</summary>
    public void ComputingAfter(CudaEvent done) => OnDevice(() => Check(WaitEvent(0, done.Handle, 0), "cudaStreamWaitEvent"));

    /// <summary>A mark behind everything that was started here.</summary>
    /// <returns>The caller disposes it.</returns>
    public CudaEvent Mark()
    {
        CudaEvent? mark = null;
        OnDevice(() =>
        {
            mark = new CudaEvent();
            mark.Record(_stream);
        });
        return mark!;
    }

    /// <summary>Waits until everything that was started here is done.</summary>
    public void Wait() => OnDevice(() => Check(Drain(_stream), "cudaStreamSynchronize"));

    public void Dispose()
    {
        if (_stream != 0)
        {
            _ = Drain(_stream);
            _ = Destroy(_stream);
            _stream = 0;
        }
    }

    // Streams and events belong to the device that is current when they are made.
    private void OnDevice(Action work)
    {
        int before = _device;
        _ = GetDevice(&before);
        if (before == _device)
        {
            work();
            return;
        }

        Check(SetDevice(_device), "cudaSetDevice");
        try
        {
            work();
        }
        finally
        {
            _ = SetDevice(before);
        }
    }

    private static void Check(int status, string function)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{function} failed with CUDA error {status}");
        }
    }
}
