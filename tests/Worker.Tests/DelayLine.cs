using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading.Channels;
using Microsoft.Win32.SafeHandles;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>A cable between two new network interfaces on which every Ethernet frame takes a while.</summary>
internal sealed partial class DelayLine : IDisposable
{
    private const uint TunSetInterface = 0x400454ca;
    private const short TapWithoutHeader = 0x0002 | 0x1000;
    private const int LongestFrame = 1 << 16;

    // As a switch would: what does not fit is dropped.
    private const int LongestQueue = 4096;

    private readonly CancellationTokenSource _end = new();
    private readonly SafeFileHandle[] _ends;
    private readonly List<Thread> _threads = [];

    /// <param name="one">Name of the interface at one end.</param>
    /// <param name="other">Name at the other end.</param>
    /// <param name="delay">In each direction.</param>
    public DelayLine(string one, string other, TimeSpan delay)
    {
        _ends = [Open(one), Open(other)];
        Carry(_ends[0], _ends[1], delay);
        Carry(_ends[1], _ends[0], delay);
    }

    /// <summary>Ends it, after the interfaces have gone with their namespaces.</summary>
    public void Dispose()
    {
        _end.Cancel();
        // A thread that still reads must not find another file under the number of this one.
        if (_threads.TrueForAll(thread => thread.Join(TimeSpan.FromSeconds(10))))
        {
            Array.ForEach(_ends, end => end.Dispose());
        }
    }

    private void Carry(SafeFileHandle from, SafeFileHandle to, TimeSpan delay)
    {
        var underWay = Channel.CreateBounded<(long Due, byte[] Frame)>(
            new BoundedChannelOptions(LongestQueue) { FullMode = BoundedChannelFullMode.DropWrite });
        Start(() =>
        {
            var frame = new byte[LongestFrame];
            for (nint length; (length = Read(Descriptor(from), frame, frame.Length)) > 0;)
            {
                underWay.Writer.TryWrite((Stopwatch.GetTimestamp() + (long)(delay.TotalSeconds * Stopwatch.Frequency), frame[..(int)length]));
            }
        });
        Start(() =>
        {
            while (!_end.IsCancellationRequested)
            {
                _end.Token.WaitHandle.WaitOne(1);
                while (underWay.Reader.TryRead(out (long Due, byte[] Frame) next))
                {
                    TimeSpan rest = Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), next.Due);
                    if (rest > TimeSpan.Zero)
                    {
                        _end.Token.WaitHandle.WaitOne(rest);
                    }

                    Write(Descriptor(to), next.Frame, next.Frame.Length);
                }
            }
        });
    }

    private void Start(Action action)
    {
        var thread = new Thread(() => action()) { IsBackground = true };
        _threads.Add(thread);
        thread.Start();
    }

    private static int Descriptor(SafeFileHandle handle) => handle.DangerousGetHandle().ToInt32();

    private static SafeFileHandle Open(string name)
    {
        SafeFileHandle handle = File.OpenHandle("/dev/net/tun", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        // struct ifreq: the name, then the flags.
        var request = new byte[40];
        Encoding.ASCII.GetBytes(name).CopyTo(request, 0);
        BitConverter.GetBytes(TapWithoutHeader).CopyTo(request, 16);
        return Control(Descriptor(handle), TunSetInterface, request) == 0
            ? handle
            : throw new Win32Exception(Marshal.GetLastPInvokeError(), $"interface {name}");
    }

    // .NET's own file calls want a file that can be sought in.
    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(int descriptor, byte[] buffer, nint count);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(int descriptor, byte[] buffer, nint count);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int descriptor, nuint request, byte[] argument);
}
