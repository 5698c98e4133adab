using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Writes the fields of a frame, little endian.</summary>
internal sealed class FieldWriter
{
    private readonly ArrayBufferWriter<byte> _bytes = new(128);

    public FieldWriter Byte(byte value)
    {
        _bytes.GetSpan(1)[0] = value;
        _bytes.Advance(1);
        return this;
    }

    public FieldWriter Number(int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_bytes.GetSpan(4), value);
        _bytes.Advance(4);
        return this;
    }

    public FieldWriter Long(long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(_bytes.GetSpan(8), value);
        _bytes.Advance(8);
        return this;
    }

    public FieldWriter Bytes(ReadOnlySpan<byte> value)
    {
        Number(value.Length);
        _bytes.Write(value);
        return this;
    }

    public FieldWriter Text(string value) => Bytes(Encoding.UTF8.GetBytes(value));

    public FieldWriter List<T>(IReadOnlyList<T> items, Action<FieldWriter, T> write)
    {
        Number(items.Count);
        foreach (T item in items)
        {
            write(this, item);
        }

        return this;
    }

    public byte[] ToArray() => _bytes.WrittenSpan.ToArray();
}

/// <summary>Reads the fields of a frame. Whatever the bytes are, it either reads them or throws <see cref="InvalidDataException"/>.</summary>
internal ref struct FieldReader(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    public delegate T ReadItem<T>(ref FieldReader reader);

    public byte Byte() => Take(1)[0];

    public int Number() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    public long Long() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    public byte[] Bytes() => Take(Number()).ToArray();

    public string Text() => Encoding.UTF8.GetString(Take(Number()));

    // A list cannot have more items than there are bytes left.
    public List<T> List<T>(ReadItem<T> read)
    {
        int count = Number();
        if (count < 0 || count > _rest.Length)
        {
            throw new InvalidDataException($"a list of {(uint)count} items in {_rest.Length} bytes");
        }

        var items = new List<T>();
        while (items.Count < count)
        {
            items.Add(read(ref this));
        }

        return items;
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count < 0 || count > _rest.Length)
        {
            throw new InvalidDataException($"a field of {(uint)count} bytes where {_rest.Length} are left");
        }

        ReadOnlySpan<byte> taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }
}
