using System.Text.Json;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Reads tensors of a safetensors file, our own or Hugging Face's.</summary>
public sealed class SafetensorsReader : IDisposable
{
    private const long LargestHeader = 100 << 20; // the limit of the format's own library
    private const long LargestPiece = 1 << 24;

    private readonly Dictionary<string, Entry> _entries = [];
    private readonly string _path;
    private readonly FileStream _file;

    private sealed record Entry(ScalarType Type, long[] Shape, long Offset, long Bytes);

    /// <summary>Opens a file and checks its header.</summary>
    /// <param name="path">A .safetensors file.</param>
    /// <exception cref="CheckpointException">The file is missing or damaged.</exception>
    public SafetensorsReader(string path)
    {
        _path = path;
        try
        {
            _file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path} cannot be read: {e.Message}", e);
        }

        try
        {
            ReadHeader();
        }
        catch (Exception e) when (e is IOException or JsonException or InvalidOperationException or KeyNotFoundException
            or FormatException or OverflowException)
        {
            _file.Dispose();
            throw new CheckpointException($"{path} is not a safetensors file, or is damaged: {e.Message}", e);
        }
    }

    /// <summary>Names of all tensors.</summary>
    public IReadOnlyCollection<string> Names => _entries.Keys;

    /// <summary>Shape of a tensor.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <returns>Its shape.</returns>
    public IReadOnlyList<long> ShapeOf(string name) => _entries[name].Shape;

    /// <summary>Reads a tensor.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <returns>A CPU tensor in the file's element type; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file ended early.</exception>
    public Tensor Read(string name)
    {
        Entry entry = _entries[name];
        Tensor result = empty(entry.Shape, entry.Type).DetachFromDisposeScope();
        using Tensor flat = result.view(result.numel()).DetachFromDisposeScope();
        long elementSize = Math.Max(1, result.element_size());
        _file.Position = entry.Offset;
        try
        {
            for (long start = 0; start < flat.numel(); start += LargestPiece / elementSize)
            {
                using Tensor piece = flat.narrow(0, start, Math.Min(LargestPiece / elementSize, flat.numel() - start)).DetachFromDisposeScope();
                _file.ReadExactly(TensorMemory.Bytes(piece).Span);
            }
        }
        catch (IOException e)
        {
            result.Dispose();
            throw new CheckpointException($"{_path}: reading {name} failed: {e.Message}", e);
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    internal static string NameOf(ScalarType type) => type switch
    {
        ScalarType.Float32 => "F32",
        ScalarType.Float64 => "F64",
        ScalarType.Float16 => "F16",
        ScalarType.BFloat16 => "BF16",
        ScalarType.Int64 => "I64",
        ScalarType.Int32 => "I32",
        ScalarType.Int16 => "I16",
        ScalarType.Int8 => "I8",
        ScalarType.Byte => "U8",
        ScalarType.Bool => "BOOL",
        _ => throw new ArgumentException($"safetensors has no element type {type}", nameof(type)),
    };

    private static ScalarType TypeOf(string name) => name switch
    {
        "F32" => ScalarType.Float32,
        "F64" => ScalarType.Float64,
        "F16" => ScalarType.Float16,
        "BF16" => ScalarType.BFloat16,
        "I64" => ScalarType.Int64,
        "I32" => ScalarType.Int32,
        "I16" => ScalarType.Int16,
        "I8" => ScalarType.Int8,
        "U8" => ScalarType.Byte,
        "BOOL" => ScalarType.Bool,
        _ => throw new FormatException($"the element type {name} is not supported"),
    };

    private void ReadHeader()
    {
        var length = new byte[sizeof(ulong)];
        _file.ReadExactly(length);
        ulong headerBytes = BitConverter.ToUInt64(length);
        if (headerBytes > LargestHeader || (long)headerBytes > _file.Length - sizeof(ulong))
        {
            throw new FormatException($"the header would have {headerBytes} bytes");
        }

        var header = new byte[headerBytes];
        _file.ReadExactly(header);
        long data = _file.Position;
        using JsonDocument document = JsonDocument.Parse(header);
        foreach (JsonProperty property in document.RootElement.EnumerateObject().Where(p => p.Name != "__metadata__"))
        {
            ScalarType type = TypeOf(property.Value.GetProperty("dtype").GetString()!);
            long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64())];
            JsonElement offsets = property.Value.GetProperty("data_offsets");
            (long begin, long end) = (offsets[0].GetInt64(), offsets[1].GetInt64());
            long expected = checked(shape.Aggregate(1L, (product, d) => checked(product * d)) * SizeOf(type));
            if (begin < 0 || end - begin != expected || end > _file.Length - data || shape.Any(d => d < 0))
            {
                throw new FormatException($"{property.Name}: shape [{string.Join(", ", shape)}] does not fit its data");
            }

            _entries[property.Name] = new Entry(type, shape, data + begin, end - begin);
        }
    }

    internal static int SizeOf(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Int16 => 2,
        _ => 1,
    };
}
