using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">Its element type, by the format's name.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">Where its bytes begin in the file.</param>
/// <param name="Bytes">How many they are.</param>
internal sealed record SafetensorsEntry(string Name, string Type, IReadOnlyList<long> Shape, long Offset, long Bytes);

/// <summary>The header of a safetensors file: its length, then JSON.</summary>
internal static class SafetensorsHeader
{
    /// <summary>The limit of the format's own library.</summary>
    public const long LargestBytes = 100 << 20;

    private const int DataAlignment = 64; // for mapped reads

    /// <summary>Makes the bytes before the data.</summary>
    /// <param name="tensors">Name, element type and shape of each, in the order of their data.</param>
    public static byte[] Write(IEnumerable<(string Name, string Type, IReadOnlyList<long> Shape)> tensors)
    {
        var entries = new JsonObject { ["__metadata__"] = new JsonObject { ["format"] = "pt" } };
        long offset = 0;
        foreach ((string name, string type, IReadOnlyList<long> shape) in tensors)
        {
            long end = offset + ElementTypes.Elements(shape) * ElementTypes.SizeOf(type);
            entries[name] = new JsonObject
            {
                ["dtype"] = type,
                ["shape"] = new JsonArray([.. shape.Select(d => JsonValue.Create(d))]),
                ["data_offsets"] = new JsonArray(offset, end),
            };
            offset = end;
        }

        byte[] json = Encoding.UTF8.GetBytes(entries.ToJsonString());
        int padded = (json.Length + sizeof(ulong) + DataAlignment - 1) / DataAlignment * DataAlignment - sizeof(ulong);
        var header = new byte[sizeof(ulong) + padded];
        BitConverter.TryWriteBytes(header, (ulong)padded);
        json.CopyTo(header, sizeof(ulong));
        header.AsSpan(sizeof(ulong) + json.Length).Fill((byte)' ');
        return header;
    }

    /// <summary>Reads the tensors of a header.</summary>
    /// <param name="json">The header without its length.</param>
    /// <param name="dataStart">Where the data begins in the file.</param>
    /// <param name="fileBytes">Length of the file.</param>
    /// <exception cref="FormatException">It does not fit the file. JSON errors come as the reader throws them.</exception>
    public static IReadOnlyList<SafetensorsEntry> Read(ReadOnlyMemory<byte> json, long dataStart, long fileBytes)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        var entries = new List<SafetensorsEntry>();
        foreach (JsonProperty property in document.RootElement.EnumerateObject().Where(p => p.Name != "__metadata__"))
        {
            string type = property.Value.GetProperty("dtype").GetString()!;
            long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64())];
            JsonElement offsets = property.Value.GetProperty("data_offsets");
            (long begin, long end) = (offsets[0].GetInt64(), offsets[1].GetInt64());
            long expected = checked(ElementTypes.Elements(shape) * ElementTypes.SizeOf(type));
            if (begin < 0 || end - begin != expected || end > fileBytes - dataStart || shape.Any(d => d < 0))
            {
                throw new FormatException($"{property.Name}: shape [{string.Join(", ", shape)}] does not fit its data");
            }

            entries.Add(new SafetensorsEntry(property.Name, type, shape, dataStart + begin, end - begin));
        }

        return entries;
    }
}
