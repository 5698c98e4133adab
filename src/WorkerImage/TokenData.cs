using System.IO.MemoryMappedFiles;
using System.Text;
using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker;

/// <summary>The data cannot be trained on; the message says why.</summary>
internal sealed class DataException(string message) : Exception(message);

/// <summary>Inputs and targets of one micro batch, each [batch, length] int64.</summary>
internal sealed record TokenBatch(Tensor Inputs, Tensor Targets) : IDisposable
{
    public void Dispose()
    {
        Inputs.Dispose();
        Targets.Dispose();
    }
}

/// <summary>A long row of tokens, cut into consecutive samples of length + 1.</summary>
internal sealed unsafe class TokenData : ITrainingData<TokenBatch>, IDisposable
{
    private readonly int _length;
    private readonly int _tokenBytes;
    private readonly Device _device;
    private readonly byte[]? _text;
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly byte* _mapped;
    private readonly string _path;

    private TokenData(string path, int length, Device device, int tokenBytes, byte[]? text)
    {
        (_path, _length, _device, _tokenBytes, _text) = (path, length, device, tokenBytes, text);
        long bytes = text?.LongLength ?? new FileInfo(path).Length;
        Count = bytes / tokenBytes / (length + 1);
        if (Count == 0)
        {
            throw new DataException($"{path} has {bytes / tokenBytes} tokens, too few for one sample of "
                + $"{length + 1}; use more data or a smaller --sequence-length");
        }

        if (text is null)
        {
            _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _mapped);
        }
    }

    public long Count { get; }

    /// <summary>Size of the vocabulary when the data decides it: 256 for text, null for tokens.</summary>
    public int? VocabSize => _text is null ? null : 256;

    /// <summary>Number of the vocabulary's tokens, to check what is read; 0 checks nothing.</summary>
    public int CheckAgainst { get; set; }

    /// <summary>Opens data.</summary>
    /// <param name="path">A token file, or UTF-8 text: a file or a folder.</param>
    /// <param name="format">i32, u16 or bytes; null decides by the file's extension.</param>
    /// <param name="length">Tokens a sample is trained on; a sample has one more.</param>
    /// <param name="device">Where batches go.</param>
    /// <exception cref="DataException">There is nothing that can be read.</exception>
    public static TokenData Open(string path, string? format, int length, Device device)
    {
        bool isFolder = Directory.Exists(path);
        if (!isFolder && !File.Exists(path))
        {
            throw new DataException($"--data {path}: there is no such file or folder");
        }

        format ??= isFolder ? "bytes" : Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".i32" => "i32",
            ".u16" or ".bin" => "u16",
            _ => "bytes",
        };
        try
        {
            return format switch
            {
                _ when isFolder && format != "bytes" =>
                    throw new DataException($"--data {path} is a folder, --data-format {format} wants a file"),
                "bytes" => new TokenData(path, length, device, 1, isFolder ? ReadFolder(path) : CheckUtf8(path, File.ReadAllBytes(path))),
                _ => new TokenData(path, length, device, format == "i32" ? sizeof(int) : sizeof(ushort), null),
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"--data {path} cannot be read: {e.Message}");
        }
    }

    public TokenBatch Batch(IReadOnlyList<long> indices)
    {
        var inputs = new long[indices.Count * _length];
        var targets = new long[inputs.Length];
        for (int row = 0; row < indices.Count; row++)
        {
            long start = indices[row] * (_length + 1);
            long token = Token(start);
            for (int i = 0; i < _length; i++)
            {
                inputs[row * _length + i] = token;
                token = Token(start + i + 1);
                targets[row * _length + i] = token;
            }
        }

        return new TokenBatch(On(inputs, indices.Count), On(targets, indices.Count));
    }

    public void Dispose()
    {
        _view?.SafeMemoryMappedViewHandle.ReleasePointer();
        _view?.Dispose();
        _file?.Dispose();
    }

    private Tensor On(long[] values, int rows)
    {
        Tensor host = tensor(values, [rows, _length]);
        if (_device.type == TorchSharp.DeviceType.CPU)
        {
            return host;
        }

        // From pinned memory, the copy takes its place in the GPU's queue; from ordinary memory it would wait for it to drain.
        using (host)
        using (Tensor pinned = host.pin_memory())
        {
            return pinned.to(_device, non_blocking: true);
        }
    }

    private long Token(long index)
    {
        long token = _tokenBytes switch
        {
            1 => _text![index],
            sizeof(ushort) => BitConverter.ToUInt16(new ReadOnlySpan<byte>(_mapped + index * sizeof(ushort), sizeof(ushort))),
            _ => BitConverter.ToInt32(new ReadOnlySpan<byte>(_mapped + index * sizeof(int), sizeof(int))),
        };
        if (token < 0 || (CheckAgainst > 0 && token >= CheckAgainst))
        {
            throw new DataException($"{_path}: token {index} is {token}, the vocabulary has {CheckAgainst}; is the "
                + "--data-format right, and the data made with this model's tokenizer?");
        }

        return token;
    }

    // All files of a folder in the order of their names; hidden ones and what is not text are passed over.
    private static byte[] ReadFolder(string folder)
    {
        using var all = new MemoryStream();
        var options = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.Hidden | FileAttributes.ReparsePoint };
        foreach (string file in Directory.EnumerateFiles(folder, "*", options).Order(StringComparer.Ordinal))
        {
            byte[] content = File.ReadAllBytes(file);
            if (IsText(content))
            {
                all.Write(content);
            }
        }

        return all.Length > 0 ? all.ToArray() : throw new DataException($"--data {folder} holds no text files");
    }

    private static byte[] CheckUtf8(string path, byte[] content) => IsText(content) ? content : throw new DataException(
        $"--data {path} is not UTF-8 text; for a file of tokens give --data-format i32 or u16");

    private static bool IsText(byte[] content)
    {
        if (content.AsSpan().Contains((byte)0))
        {
            return false;
        }

        try
        {
            _ = new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(content);
            return true;
        }
        catch (DecoderFallbackException)
        {
            return false;
        }
    }
}
