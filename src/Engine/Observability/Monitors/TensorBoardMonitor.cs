using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Scalars in an event file of TensorBoard; each run has its own file.</summary>
/// <remarks>A file is a sequence of TFRecords (length, checksum, data, checksum; little-endian), each an
/// <c>Event</c> message of TensorFlow's <c>event.proto</c>. Writing the five fields we need takes less than a library.</remarks>
internal sealed class TensorBoardMonitor : IMonitor
{
    private readonly TimeProvider _clock;
    private readonly string _path;
    private readonly MemoryStream _message = new();
    private FileStream? _file;

    public TensorBoardMonitor(string folder, TimeProvider clock)
    {
        _clock = clock;
        // The time orders the files of restarted runs, the host and process keep them apart.
        _path = Path.Combine(folder, $"events.out.tfevents.{clock.GetUtcNow().ToUnixTimeSeconds():D10}.{Environment.MachineName}.{Environment.ProcessId}.0");
        Place = folder;
    }

    public string Place { get; }

    public void Write(IReadOnlyList<(string Metric, double Value)> events, long samples)
    {
        if (_file is null)
        {
            Directory.CreateDirectory(Place);
            _file = new FileStream(_path, FileMode.Append, FileAccess.Write, FileShare.Read);
            if (_file.Length == 0)
            {
                Append(stream => WriteField(stream, 3, "brain.Event:2"u8)); // file_version
            }
        }

        Append(stream =>
        {
            stream.WriteByte(2 << 3); // step, a varint
            WriteVarint(stream, (ulong)samples);
            using var summary = new MemoryStream();
            Span<byte> bits = stackalloc byte[4];
            foreach ((string metric, double value) in events)
            {
                using var scalar = new MemoryStream();
                WriteField(scalar, 1, Encoding.UTF8.GetBytes(metric)); // tag
                scalar.WriteByte((2 << 3) | 5); // simple_value, 32 bits
                BinaryPrimitives.WriteSingleLittleEndian(bits, (float)value);
                scalar.Write(bits);
                WriteField(summary, 1, scalar.GetBuffer().AsSpan(0, (int)scalar.Length)); // value, one of several
            }

            WriteField(stream, 5, summary.GetBuffer().AsSpan(0, (int)summary.Length)); // summary
        });
        _file.Flush();
    }

    public void Dispose()
    {
        _file?.Dispose();
        _message.Dispose();
    }

    private void Append(Action<Stream> write)
    {
        _message.SetLength(0);
        _message.WriteByte((1 << 3) | 1); // wall_time, 64 bits
        Span<byte> word = stackalloc byte[8];
        BinaryPrimitives.WriteDoubleLittleEndian(word, _clock.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0);
        _message.Write(word);
        write(_message);

        ReadOnlySpan<byte> data = _message.GetBuffer().AsSpan(0, (int)_message.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(word, (ulong)data.Length);
        Span<byte> checksum = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, MaskedChecksum(word));
        _file!.Write(word);
        _file.Write(checksum);
        _file.Write(data);
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, MaskedChecksum(data));
        _file.Write(checksum);
    }

    // CRC-32C, turned and shifted, because a checksum over data that holds checksums would be weak.
    private static uint MaskedChecksum(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
        {
            crc = BitOperations.Crc32C(crc, b);
        }

        return BitOperations.RotateRight(~crc, 15) + 0xa282ead8;
    }

    private static void WriteField(Stream stream, int number, ReadOnlySpan<byte> bytes)
    {
        stream.WriteByte((byte)((number << 3) | 2));
        WriteVarint(stream, (ulong)bytes.Length);
        stream.Write(bytes);
    }

    private static void WriteVarint(Stream stream, ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            stream.WriteByte((byte)(value | 0x80));
        }

        stream.WriteByte((byte)value);
    }
}
