using System.Buffers.Binary;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>What a frame between a rank and the store is for.</summary>
internal enum FrameKind : byte
{
    // The handshake.
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Accepted = 4,
    Refused = 5,

    // Requests of a rank; each is answered by a reply with its number.
    Set = 16,
    Get = 17,
    Add = 18,
    CompareSet = 19,
    Delete = 20,
    Barrier = 21,

    // What a rank tells without expecting an answer.
    Beat = 32,
    Group = 33,
    Failure = 34,
    Dump = 35,
    Goodbye = 36,

    // What the store tells.
    Reply = 48,
    Ready = 49,
    Pulse = 50,
    Verdict = 51,
}

/// <summary>How a request ended.</summary>
internal enum ReplyStatus : byte
{
    Done = 0,
    TimedOut = 1,
    Refused = 2,
}

/// <summary>A message between a rank and the store: its length, its kind, the number of the request, and its fields.</summary>
internal readonly record struct StoreFrame(FrameKind Kind, uint Id, byte[] Body)
{
    /// <summary>Bytes before the fields.</summary>
    public const int HeaderBytes = 9;

    /// <summary>Longest body before both sides know each other.</summary>
    public const int LongestGreeting = 1024;

    /// <summary>Longest body of a member.</summary>
    public const int LongestBody = (16 << 20) + (64 << 10);

    /// <summary>The bytes on the wire.</summary>
    public static byte[] Encode(FrameKind kind, uint id, ReadOnlySpan<byte> body)
    {
        var bytes = new byte[HeaderBytes + body.Length];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, body.Length);
        bytes[4] = (byte)kind;
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(5), id);
        body.CopyTo(bytes.AsSpan(HeaderBytes));
        return bytes;
    }

    /// <summary>Length of the body that a header announces.</summary>
    /// <exception cref="InvalidDataException">It is longer than allowed: not one of us.</exception>
    public static int BodyLength(ReadOnlySpan<byte> header, int longest)
    {
        int length = BinaryPrimitives.ReadInt32LittleEndian(header);
        return length >= 0 && length <= longest
            ? length : throw new InvalidDataException($"a frame of {(uint)length} bytes, where {longest} are the most");
    }
}
