using System.ComponentModel;
using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>The kernel's calls for memory that processes share, and for waiting on it.</summary>
internal static unsafe partial class Posix
{
    private const int FutexWaitOperation = 0;
    private const int FutexWakeOperation = 1;
    private const int ReadWrite = 2;
    private const int CloseOnExec = 0x80000;
    private static readonly long FutexNumber = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 98 : 202;

    /// <summary>Descriptor is readable or at its end.</summary>
    public const short PollIn = 1;

    /// <summary>Descriptor takes bytes.</summary>
    public const short PollOut = 4;

    /// <summary>Whether these calls are there: on 64-bit Linux.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture is Architecture.X64 or Architecture.Arm64;

    /// <summary>Sleeps while a word has a value, at most for some time.</summary>
    public static void FutexWait(int* word, int value, int milliseconds)
    {
        TimeSpec time = new() { Seconds = milliseconds / 1000, Nanoseconds = milliseconds % 1000 * 1_000_000L };
        _ = Futex(FutexNumber, word, FutexWaitOperation, value, &time);
    }

    /// <summary>Wakes all that sleep on a word.</summary>
    public static void FutexWake(int* word) => _ = Futex(FutexNumber, word, FutexWakeOperation, int.MaxValue, null);

    /// <summary>Makes memory that other processes can map; the kernel frees it when the last of them has ended, however it ended.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static int CreateMemory(string name, long bytes)
    {
        int descriptor = MemfdCreate(name, 1);
        if (descriptor < 0 || Truncate(descriptor, bytes) != 0)
        {
            throw Error($"{bytes} bytes of shared memory cannot be made");
        }

        return descriptor;
    }

    /// <summary>Opens memory that another process has made.</summary>
    /// <exception cref="IOException">It is not there or not ours.</exception>
    public static int OpenMemory(int process, int descriptor)
    {
        int mine = Open($"/proc/{process}/fd/{descriptor}", ReadWrite | CloseOnExec);
        return mine >= 0 ? mine : throw Error($"shared memory of process {process} cannot be opened");
    }

    /// <summary>Maps memory.</summary>
    /// <param name="descriptor">Of shared memory; -1 for memory of this process.</param>
    /// <param name="bytes">Its size.</param>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static byte* Map(int descriptor, long bytes)
    {
        const int sharedMap = 1, privateAnonymous = 0x22;
        nint start = MemoryMap(0, (nuint)bytes, 3, descriptor >= 0 ? sharedMap : privateAnonymous, descriptor, 0);
        return start != -1 ? (byte*)start : throw Error($"{bytes} bytes cannot be mapped");
    }

    public static void Unmap(byte* start, long bytes) => _ = MemoryUnmap((nint)start, (nuint)bytes);

    public static void CloseDescriptor(int descriptor) => _ = Close(descriptor);

    /// <summary>A descriptor that becomes readable when a process ends; negative when there is none.</summary>
    public static int OpenProcess(int process) => (int)PidfdOpen(434, process, 0);

    /// <summary>Waits until a descriptor is ready.</summary>
    /// <returns>How many are.</returns>
    public static int WaitFor(Span<PollDescriptor> descriptors, int milliseconds)
    {
        fixed (PollDescriptor* first = descriptors)
        {
            return Poll(first, (nuint)descriptors.Length, milliseconds);
        }
    }

    private static IOException Error(string what) => new($"{what}: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}");

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Futex(long number, int* word, int operation, int value, TimeSpec* time);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long PidfdOpen(long number, int process, uint flags);

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int Truncate(int descriptor, long length);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MemoryMap(nint address, nuint length, int protection, int flags, int descriptor, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int MemoryUnmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(PollDescriptor* descriptors, nuint count, int milliseconds);

    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}

/// <summary>What is waited for on a descriptor, as the kernel takes it.</summary>
internal struct PollDescriptor
{
    public int Descriptor;
    public short Wanted;
    public short Ready;
}
