using System.Buffers.Binary;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Collects received bytes until they make a frame.</summary>
/// <remarks>It grows with what has arrived, never with what a header announces: a stranger cannot reserve memory.</remarks>
internal sealed class FrameBuffer
{
    private const int Smallest = 4096;

    private byte[] _bytes = new byte[Smallest];
    private int _start;
    private int _end;

    /// <summary>Longest body that is taken.</summary>
    public int LongestBody { get; set; } = StoreFrame.LongestGreeting;

    /// <summary>Where the next bytes may be received to; at least one.</summary>
    public Span<byte> Free()
    {
        if (_start == _end)
        {
            (_start, _end) = (0, 0);
            if (_bytes.Length > Smallest << 4)
            {
                _bytes = new byte[Smallest];
            }
        }

        if (_end == _bytes.Length)
        {
            // Moved to the front, into a larger array when more than half of it is in use.
            byte[] target = _end - _start > _bytes.Length / 2 ? new byte[_bytes.Length * 2] : _bytes;
            _bytes.AsSpan(_start, _end - _start).CopyTo(target);
            (_bytes, _start, _end) = (target, 0, _end - _start);
        }

        return _bytes.AsSpan(_end);
    }

    /// <summary>Notes that bytes were received into <see cref="Free"/>.</summary>
    public void Received(int count) => _end += count;

    /// <summary>Takes the next complete frame.</summary>
    /// <exception cref="InvalidDataException">The length is impossible.</exception>
    public bool TryTake(out StoreFrame frame)
    {
        frame = default;
        ReadOnlySpan<byte> received = _bytes.AsSpan(_start, _end - _start);
        if (received.Length < sizeof(int))
        {
            return false;
        }

        int length = StoreFrame.BodyLength(received, LongestBody);
        if (received.Length < StoreFrame.HeaderBytes + length)
        {
            return false;
        }

        frame = new StoreFrame((FrameKind)received[4], BinaryPrimitives.ReadUInt32LittleEndian(received[5..]),
            received.Slice(StoreFrame.HeaderBytes, length).ToArray());
        _start += StoreFrame.HeaderBytes + length;
        return true;
    }
}
