using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>A ring of requests that the kernel works on, and one of results (Linux 5.6 and later). For one thread.</summary>
/// <remarks>Axboe, "Efficient IO with io_uring", 2019. Through system calls: there is no library to find.</remarks>
internal sealed unsafe partial class IoUring : IDisposable
{
    private const int Setup = 425, Enter = 426;
    private const byte ReadCode = 22, WriteCode = 23;
    private const uint WaitForResults = 1, OneMapping = 1;
    private const int ReadWriteMemory = 3, SharedPopulated = 0x8001;
    private const int Interrupted = 4, TryAgain = 11, Busy = 16;
    private const long EntriesAt = 0x10000000;
    private const int EntryBytes = 64, ResultBytes = 16;

    private readonly int _ring;
    private readonly Parameters _shape;
    private byte* _rings;
    private byte* _entries;
    private readonly nuint _ringBytes, _entryBytes;
    private uint _tail;

    /// <param name="depth">Requests that may be in flight.</param>
    /// <exception cref="NotSupportedException">This kernel, or this container, has no io_uring.</exception>
    public IoUring(int depth)
    {
        Parameters shape = default;
        _ring = (int)syscall(Setup, depth, (nint)(&shape), 0, 0, 0, 0);
        if (_ring < 0)
        {
            throw new NotSupportedException($"io_uring_setup: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        _shape = shape;
        if ((shape.Features & OneMapping) == 0)
        {
            _ = close(_ring);
            throw new NotSupportedException("io_uring of this kernel is older than Linux 5.4");
        }

        _ringBytes = Math.Max(shape.RequestArray + shape.RequestEntries * sizeof(uint), shape.Results + shape.ResultEntries * ResultBytes);
        _entryBytes = shape.RequestEntries * EntryBytes;
        _rings = Map(_ringBytes, 0);
        _entries = Map(_entryBytes, EntriesAt);
        _tail = *(uint*)(_rings + shape.RequestTail);
    }

    /// <summary>Puts a request into the ring; <see cref="Submit"/> hands it over. No more than the depth at a time.</summary>
    /// <param name="isWrite">Whether bytes go to the file.</param>
    /// <param name="file">Its descriptor.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="address">Memory.</param>
    /// <param name="bytes">How many.</param>
    /// <param name="tag">Comes back with the result.</param>
    public void Prepare(bool isWrite, int file, long offset, nint address, int bytes, ulong tag)
    {
        uint index = _tail & *(uint*)(_rings + _shape.RequestMask);
        byte* entry = _entries + index * EntryBytes;
        new Span<byte>(entry, EntryBytes).Clear();
        entry[0] = isWrite ? WriteCode : ReadCode;
        *(int*)(entry + 4) = file;
        *(long*)(entry + 8) = offset;
        *(long*)(entry + 16) = address;
        *(int*)(entry + 24) = bytes;
        *(ulong*)(entry + 32) = tag;
        ((uint*)(_rings + _shape.RequestArray))[index] = index;
        Volatile.Write(ref *(uint*)(_rings + _shape.RequestTail), ++_tail);
    }

    /// <summary>Hands requests to the kernel and waits for results.</summary>
    /// <param name="requests">How many were prepared since the last call.</param>
    /// <param name="results">How many results to wait for.</param>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public void Submit(int requests, int results)
    {
        while (true)
        {
            long taken = syscall(Enter, _ring, requests, results, results > 0 ? (nint)WaitForResults : 0, 0, 0);
            if (taken >= requests)
            {
                return;
            }

            if (taken >= 0)
            {
                requests -= (int)taken;
                continue;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error is TryAgain or Busy)
            {
                _ = Thread.Yield(); // the kernel is short of memory for requests
            }
            else if (error != Interrupted)
            {
                throw new IOException($"io_uring_enter: {Marshal.GetPInvokeErrorMessage(error)}");
            }
        }
    }

    /// <summary>Takes a result, if there is one.</summary>
    /// <param name="tag">The request's.</param>
    /// <param name="result">Bytes moved, or the negative number of an error.</param>
    public bool TryTake(out ulong tag, out int result)
    {
        uint* head = (uint*)(_rings + _shape.ResultHead);
        uint at = *head;
        if (at == Volatile.Read(ref *(uint*)(_rings + _shape.ResultTail)))
        {
            (tag, result) = (0, 0);
            return false;
        }

        byte* entry = _rings + _shape.Results + (at & *(uint*)(_rings + _shape.ResultMask)) * ResultBytes;
        (tag, result) = (*(ulong*)entry, *(int*)(entry + 8));
        Volatile.Write(ref *head, at + 1);
        return true;
    }

    public void Dispose()
    {
        if (_rings != null)
        {
            _ = munmap((nint)_rings, _ringBytes);
            _ = munmap((nint)_entries, _entryBytes);
            _ = close(_ring);
            _rings = null;
        }
    }

    private byte* Map(nuint bytes, long at)
    {
        nint address = mmap(0, bytes, ReadWriteMemory, SharedPopulated, _ring, at);
        return address != -1 ? (byte*)address : throw new NotSupportedException($"the rings of io_uring: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    [LibraryImport("libc.so.6", SetLastError = true)]
    private static partial nint syscall(nint number, nint a, nint b, nint c, nint d, nint e, nint f);

    [LibraryImport("libc.so.6", SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc.so.6")]
    private static partial int munmap(nint address, nuint length);

    [LibraryImport("libc.so.6")]
    private static partial int close(int file);

    // struct io_uring_params: where things are in the rings.
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    private struct Parameters
    {
        [FieldOffset(0)]
        public uint RequestEntries;
        [FieldOffset(4)]
        public uint ResultEntries;
        [FieldOffset(20)]
        public uint Features;
        [FieldOffset(44)]
        public uint RequestTail;
        [FieldOffset(48)]
        public uint RequestMask;
        [FieldOffset(64)]
        public uint RequestArray;
        [FieldOffset(80)]
        public uint ResultHead;
        [FieldOffset(84)]
        public uint ResultTail;
        [FieldOffset(88)]
        public uint ResultMask;
        [FieldOffset(100)]
        public uint Results;
    }
}
