using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Reads tensors of a safetensors file, our own or Hugging Face's.</summary>
public sealed class SafetensorsReader : IDisposable
{
    private const long LargestPiece = 1 << 24; // elements

    private readonly SafetensorsFile _file;

    /// <summary>Opens a file and checks its header.</summary>
    /// <param name="path">A .safetensors file.</param>
    /// <exception cref="CheckpointException">The file is missing or damaged.</exception>
    public SafetensorsReader(string path)
    {
        _file = new SafetensorsFile(path);
    }

    /// <summary>Bytes of tensors read so far.</summary>
    internal long BytesRead { get; private set; }

    /// <summary>Names of all tensors.</summary>
    public IReadOnlyCollection<string> Names => [.. _file.Entries.Select(entry => entry.Name)];

    /// <summary>Shape of a tensor.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <returns>Its shape.</returns>
    public IReadOnlyList<long> ShapeOf(string name) => Entry(name).Shape;

    /// <summary>Reads a tensor.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <returns>A CPU tensor in the file's element type; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file ended early.</exception>
    public Tensor Read(string name)
    {
        SafetensorsEntry entry = Entry(name);
        using Tensor flat = Read(name, 0, ElementTypes.Elements(entry.Shape));
        return flat.view([.. entry.Shape]);
    }

    /// <summary>Reads a range of a tensor's elements, for a rank that needs no more of it.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="start">First element of the tensor, flattened.</param>
    /// <param name="length">How many.</param>
    /// <returns>[length] on the CPU in the file's element type; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file ended early.</exception>
    public Tensor Read(string name, long start, long length)
    {
        SafetensorsEntry entry = Entry(name);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + length, ElementTypes.Elements(entry.Shape));
        int size = ElementTypes.SizeOf(entry.Type);
        Tensor result = empty(length, TypeOf(entry.Type));
        try
        {
            for (long done = 0; done < length; done += LargestPiece)
            {
                using Tensor piece = result.narrow(0, done, Math.Min(LargestPiece, length - done));
                _file.Read(entry, (start + done) * size, TensorMemory.Bytes(piece).Span);
                BytesRead += piece.numel() * size;
            }

            return result;
        }
        catch
        {
            result.Dispose();
            throw;
        }
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

    internal static ScalarType TypeOf(string name) => name switch
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

    internal static int SizeOf(ScalarType type) => ElementTypes.SizeOf(NameOf(type));

    private SafetensorsEntry Entry(string name) => _file.Find(name)
        ?? throw new ArgumentException($"{_file.Path} has no tensor {name}", nameof(name));
}
