using System.Runtime.InteropServices;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Memory for what arrives and is combined at once; kept between collectives.</summary>
/// <remarks>Used by one collective at a time. What was large once is given back when it was not needed for a while, so that one
/// huge message does not cost memory for ever.</remarks>
internal sealed unsafe class Scratch : IDisposable
{
    private const long KeptBytes = 4 << 20;
    private byte* _start;
    private long _length;

    /// <summary>Some bytes, of no particular value, until the next call.</summary>
    public Block Take(long bytes)
    {
        if (bytes > _length || (_length > KeptBytes && bytes <= KeptBytes))
        {
            Dispose();
            _length = Math.Max(bytes, 64 << 10);
            _start = (byte*)NativeMemory.AlignedAlloc((nuint)_length, 64);
        }

        return new Block(_start, bytes);
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_start);
        _start = null;
        _length = 0;
    }
}
