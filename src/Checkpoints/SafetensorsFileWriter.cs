using System.IO.Hashing;
using Microsoft.Win32.SafeHandles;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Writes a safetensors file piece by piece, with a checksum of each tensor.</summary>
/// <remarks>While one piece is on its way to the disk, the next one is computed and added to its checksum.</remarks>
internal sealed class SafetensorsFileWriter : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly string _path;
    private readonly bool _overlaps;
    private readonly string _headerChecksum;
    private readonly long _bytes;
    private readonly XxHash128 _hash = new();
    private Task _writing = Task.CompletedTask;
    private long _position;

    /// <param name="path">The file; overwritten.</param>
    /// <param name="tensors">Name, element type and shape of each, in the order in which they will be appended.</param>
    /// <param name="overlaps">False waits for each piece before the next.</param>
    public SafetensorsFileWriter(string path, IReadOnlyList<(string Name, string Type, IReadOnlyList<long> Shape)> tensors, bool overlaps = true)
    {
        (_path, _overlaps) = (path, overlaps);
        byte[] header = SafetensorsHeader.Write(tensors);
        if (header.Length > SafetensorsHeader.LargestBytes)
        {
            throw new ArgumentException($"{tensors.Count} tensors are more than a safetensors file can name", nameof(tensors));
        }

        _bytes = header.Length + tensors.Sum(t => ElementTypes.Elements(t.Shape) * ElementTypes.SizeOf(t.Type));
        // The whole length at once: a full disk is found before the first byte.
        _handle = File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.None, preallocationSize: _bytes);
        _headerChecksum = Checksum.Of(header);
        RandomAccess.Write(_handle, header, 0);
        _position = header.Length;
    }

    /// <summary>Appends bytes of the current tensor.</summary>
    /// <param name="bytes">Must stay as they are until the next call has returned.</param>
    public void Append(ReadOnlyMemory<byte> bytes)
    {
        long position = _position;
        _position += bytes.Length;
        _writing.GetAwaiter().GetResult();
        _writing = Task.Run(() => RandomAccess.Write(_handle, bytes.Span, position));
        _hash.Append(bytes.Span);
        if (!_overlaps)
        {
            _writing.GetAwaiter().GetResult();
        }
    }

    /// <summary>Ends the current tensor.</summary>
    /// <returns>Its checksum.</returns>
    public string EndTensor() => Checksum.Text(_hash.GetHashAndReset());

    /// <summary>Puts the file on disk.</summary>
    /// <returns>What the manifest says of it.</returns>
    public FileRecord Complete()
    {
        _writing.GetAwaiter().GetResult();
        if (_position != _bytes)
        {
            throw new InvalidOperationException($"{_path} got {_position} bytes; its header says {_bytes}");
        }

        RandomAccess.FlushToDisk(_handle);
        return new FileRecord(Path.GetFileName(_path), _bytes) { Header = _headerChecksum };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // After a failure: the write reads memory that its owner is about to free.
        ((IAsyncResult)_writing).AsyncWaitHandle.WaitOne();
        _ = _writing.Exception;
        _handle.Dispose();
    }
}
