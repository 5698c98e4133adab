using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>A range of host memory for tensors, page-locked for a GPU where that is asked for and possible.</summary>
/// <remarks>
/// Straight from the system: libtorch rounds each page-locked block up to a power of two, and keeps it when it is freed.
/// Large pages are asked for, so that locking and walking many gigabytes is quick. The memory is zeros.
/// </remarks>
internal sealed unsafe partial class HostMemory : IDisposable
{
    private const int ReadWrite = 3, PrivateAnonymous = 0x22, HugePages = 14;
    private const uint Portable = 1;

    private nint _address;
    private readonly long _bytes;

    /// <param name="bytes">How much; 0 is one page.</param>
    /// <param name="isPinned">Page-locks it, so that copies to and from a GPU run on their own. Without a GPU no effect.</param>
    /// <exception cref="InsufficientMemoryException">The system has no such range.</exception>
    public HostMemory(long bytes, bool isPinned)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        _bytes = (Math.Max(bytes, 1) + 4095) / 4096 * 4096;
        _address = mmap(0, (nuint)_bytes, ReadWrite, PrivateAnonymous, -1, 0);
        if (_address == -1)
        {
            _address = 0;
            throw new InsufficientMemoryException($"the system has no {_bytes / 1048576.0:0} MiB of host memory for offloaded state; use a smaller "
                + "model, more ranks, or \"device\": \"nvme\"");
        }

        _ = madvise(_address, (nuint)_bytes, HugePages); // a wish
        IsPinned = isPinned && Lock();
    }

    /// <summary>Whether it is page-locked.</summary>
    public bool IsPinned { get; }

    /// <summary>Where it begins: at a page.</summary>
    public nint Address => _address;

    /// <summary>Length, in whole pages.</summary>
    public long Bytes => _bytes;

    /// <summary>Shows a part of the memory as a tensor, which must not be used after <see cref="Dispose"/>.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="elements">Length.</param>
    /// <param name="type">Element type.</param>
    /// <returns>[elements] on the CPU, outside any scope; the caller disposes it.</returns>
    public Tensor View(long offset, long elements, ScalarType type)
    {
        ObjectDisposedException.ThrowIf(_address == 0, this);
        if (offset < 0 || elements < 0 || offset + elements * type.ElementSize() > _bytes)
        {
            throw new ArgumentOutOfRangeException(nameof(elements), $"{elements} elements of {type} from byte {offset} on are more than {_bytes} bytes");
        }

        long stride = 1;
        nint handle;
        int status = FromBlob(_address + (nint)offset, 1, &elements, &stride, 0, (int)type, (int)DeviceType.CPU, 0, &handle);
        return status == 0 ? Tensor.UnsafeCreateTensor(handle).DetachFromDisposeScope()
            : throw new InvalidOperationException("aoti_torch_create_tensor_from_blob failed; libtorch wrote the reason to stderr");
    }

    public void Dispose()
    {
        if (_address == 0)
        {
            return;
        }

        if (IsPinned)
        {
            _ = Unregister(_address);
        }

        _ = munmap(_address, (nuint)_bytes);
        _address = 0;
    }

    private static readonly delegate* unmanaged<nint, long, long*, long*, long, int, int, int, nint*, int> FromBlob =
        (delegate* unmanaged<nint, long, long*, long*, long, int, int, int, nint*, int>)Symbols.OfTorch("aoti_torch_create_tensor_from_blob");

    private static readonly delegate* unmanaged<nint, nuint, uint, int> Register =
        (delegate* unmanaged<nint, nuint, uint, int>)CudaRuntime.Symbol("cudaHostRegister");

    private static readonly delegate* unmanaged<nint, int> Unregister = (delegate* unmanaged<nint, int>)CudaRuntime.Symbol("cudaHostUnregister");

    // Pages are there before the driver locks them: it would make them one by one.
    private bool Lock()
    {
        if (Register == null || Unregister == null || !cuda.is_available())
        {
            return false;
        }

        const long Stretch = 64 << 20;
        nint address = _address;
        long bytes = _bytes;
        Parallel.For(0, (bytes + Stretch - 1) / Stretch, i =>
            NativeMemory.Clear((void*)(address + (nint)(i * Stretch)), (nuint)Math.Min(Stretch, bytes - i * Stretch)));
        return Register(_address, (nuint)_bytes, Portable) == 0;
    }

    [LibraryImport("libc.so.6", SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc.so.6")]
    private static partial int munmap(nint address, nuint length);

    [LibraryImport("libc.so.6")]
    private static partial int madvise(nint address, nuint length, int advice);
}
