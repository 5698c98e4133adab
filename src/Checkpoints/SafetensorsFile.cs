using System.Text.Json;
using Microsoft.Win32.SafeHandles;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>A safetensors file, opened to read ranges of its tensors. May be used by several threads at once.</summary>
internal sealed class SafetensorsFile : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly Dictionary<string, SafetensorsEntry> _entries;

    /// <param name="path">A .safetensors file.</param>
    /// <exception cref="CheckpointException">The file is missing or damaged.</exception>
    public SafetensorsFile(string path)
    {
        Path = path;
        try
        {
            _handle = File.OpenHandle(path, options: FileOptions.SequentialScan);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path} cannot be read: {e.Message}", e)
            {
                IsDamage = e is FileNotFoundException,
            };
        }

        try
        {
            Header = ReadHeader();
            Entries = SafetensorsHeader.Read(Header.AsMemory(sizeof(ulong)), Header.Length, RandomAccess.GetLength(_handle));
            _entries = Entries.ToDictionary(entry => entry.Name);
        }
        catch (Exception e) when (e is IOException or JsonException or InvalidOperationException or KeyNotFoundException
            or FormatException or OverflowException or IndexOutOfRangeException)
        {
            _handle.Dispose();
            throw new CheckpointException($"{path} is not a safetensors file, or is damaged: {e.Message}", e) { IsDamage = true };
        }
    }

    /// <summary>Where the file is.</summary>
    public string Path { get; }

    /// <summary>All bytes before the data.</summary>
    public byte[] Header { get; }

    /// <summary>The tensors, in the order of the header.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    /// <summary>A tensor by its name; null when there is none.</summary>
    public SafetensorsEntry? Find(string name) => _entries.GetValueOrDefault(name);

    /// <summary>Reads bytes of a tensor.</summary>
    /// <param name="entry">One of <see cref="Entries"/>.</param>
    /// <param name="offset">First byte, counted in the tensor.</param>
    /// <param name="destination">Is filled.</param>
    /// <exception cref="CheckpointException">The file ended early or cannot be read.</exception>
    public void Read(SafetensorsEntry entry, long offset, Span<byte> destination)
    {
        try
        {
            ReadExactly(entry.Offset + offset, destination);
        }
        catch (IOException e)
        {
            throw new CheckpointException($"{Path}: reading {entry.Name} failed: {e.Message}", e)
            {
                IsPassing = e is not EndOfStreamException,
                IsDamage = e is EndOfStreamException,
            };
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private byte[] ReadHeader()
    {
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        ReadExactly(0, length);
        ulong headerBytes = BitConverter.ToUInt64(length);
        if (headerBytes > SafetensorsHeader.LargestBytes || (long)headerBytes > RandomAccess.GetLength(_handle) - sizeof(ulong))
        {
            throw new FormatException($"the header would have {headerBytes} bytes");
        }

        var header = new byte[sizeof(ulong) + headerBytes];
        ReadExactly(0, header);
        return header;
    }

    private void ReadExactly(long position, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int read = RandomAccess.Read(_handle, destination, position);
            if (read == 0)
            {
                throw new EndOfStreamException("the file ended early");
            }

            destination = destination[read..];
            position += read;
        }
    }
}
