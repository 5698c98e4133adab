namespace DeepSpeedSharp.Engine.Native;

/// <summary>A queue of a GPU for copies between host and device, beside the one that computes.</summary>
/// <remarks>What is copied belongs to the stream until an event that was recorded after the copy has passed. Copies from and
/// to memory that is not page-locked hold the calling thread up; they are right all the same.</remarks>
internal sealed unsafe class CopyStream : IDisposable
{
    private const int DirectionFromAddresses = 4;

    private static readonly delegate* unmanaged<nint, nint, nuint, int, nint, int> CopyNow =
        (delegate* unmanaged<nint, nint, nuint, int, nint, int>)CudaRuntime.Symbol("cudaMemcpyAsync");

    private static readonly delegate* unmanaged<nint, int> Drain = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaStreamSynchronize");

    private readonly int _device;
    private readonly CudaStream _stream;

    /// <param name="device">Index of the GPU.</param>
    public CopyStream(int device)
    {
        if (CopyNow == null)
        {
            throw new NativeBackendException("CUDA's runtime, which libtorch came with, cannot be called, so nothing can be offloaded from the GPU; "
                + "use \"device\": \"none\", or put the runtime (libcudart) on LD_LIBRARY_PATH");
        }

        _device = Math.Max(0, device);
        _stream = new CudaStream(_device);
    }

    /// <summary>Starts a copy of bytes.</summary>
    /// <param name="destination">Address, in host or device memory.</param>
    /// <param name="source">Address, in host or device memory.</param>
    /// <param name="bytes">How many.</param>
    public void Copy(nint destination, nint source, long bytes)
    {
        if (bytes > 0)
        {
            using CudaDevice.Scope device = CudaDevice.Use(_device);
            CudaRuntime.Check(CopyNow(destination, source, (nuint)bytes, DirectionFromAddresses, _stream.Handle), "cudaMemcpyAsync");
        }
    }

    /// <summary>Makes what is started here next come after everything that the computing stream has been given so far.</summary>
    public void AfterComputing()
    {
        using CudaDevice.Scope device = CudaDevice.Use(_device);
        using var now = new CudaEvent();
        now.Record(CudaStream.Current(_device));
        now.HoldBack(_stream.Handle);
    }

    /// <summary>Makes what the computing stream is given next come after an event of this stream.</summary>
    public void ComputingAfter(CudaEvent done)
    {
        using CudaDevice.Scope device = CudaDevice.Use(_device);
        done.HoldBack(CudaStream.Current(_device));
    }

    /// <summary>A mark behind everything that was started here.</summary>
    /// <returns>The caller disposes it.</returns>
    public CudaEvent Mark()
    {
        using CudaDevice.Scope device = CudaDevice.Use(_device);
        var mark = new CudaEvent();
        mark.Record(_stream.Handle);
        return mark;
    }

    /// <summary>Waits until everything that was started here is done.</summary>
    public void Wait()
    {
        using CudaDevice.Scope device = CudaDevice.Use(_device);
        CudaRuntime.Check(Drain(_stream.Handle), "cudaStreamSynchronize");
    }

    public void Dispose()
    {
        Wait();
        _stream.Dispose();
    }
}
