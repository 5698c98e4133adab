namespace DeepSpeedSharp.Engine.Native;

/// <summary>CUDA's current device of a thread.</summary>
internal static unsafe class CudaDevice
{
    private static readonly delegate* unmanaged<int*, int> Get = (delegate* unmanaged<int*, int>)CudaRuntime.Symbol("cudaGetDevice");
    private static readonly delegate* unmanaged<int, int> Set = (delegate* unmanaged<int, int>)CudaRuntime.Symbol("cudaSetDevice");

    /// <summary>Makes a device current until the result is disposed, on the same thread.</summary>
    /// <param name="device">Index of the GPU.</param>
    public static Scope Use(int device)
    {
        int before;
        CudaRuntime.Check(Get(&before), "cudaGetDevice");
        if (before != device)
        {
            CudaRuntime.Check(Set(device), "cudaSetDevice");
        }

        return new Scope(before, device);
    }

    /// <summary>Restores the device that was current before.</summary>
    public readonly ref struct Scope(int before, int device)
    {
        public void Dispose()
        {
            if (before != device)
            {
                _ = Set(before);
            }
        }
    }
}
