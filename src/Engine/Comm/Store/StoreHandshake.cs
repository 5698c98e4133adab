using System.Security.Cryptography;
using System.Text;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>What a rank says when it comes.</summary>
internal sealed record StoreHello(int Rank, int WorldSize, string RunId, string Host, byte[] Nonce)
{
    public const int NonceBytes = 32;

    // Eight bytes that no other protocol starts with; the last one is the version.
    private const long Magic = 0x01_65_72_6f_74_53_53_44;
    private const int LongestName = 256;

    public static StoreHello From(WorkerEnvironment place) => new(place.Rank!.Value, place.WorldSize,
        Shortened(place.RunId), Shortened(Environment.MachineName), RandomNumberGenerator.GetBytes(NonceBytes));

    public byte[] Encode() => new FieldWriter().Long(Magic).Number(Rank).Number(WorldSize).Text(RunId).Text(Host).Bytes(Nonce).ToArray();

    /// <exception cref="InvalidDataException">It is something else, or another version of this library.</exception>
    public static StoreHello Decode(ReadOnlySpan<byte> body)
    {
        var reader = new FieldReader(body);
        if (reader.Long() != Magic)
        {
            throw new InvalidDataException("not a greeting of this version of the library");
        }

        var hello = new StoreHello(reader.Number(), reader.Number(), reader.Text(), reader.Text(), reader.Bytes());
        return hello.Nonce.Length == NonceBytes ? hello : throw new InvalidDataException($"a nonce of {hello.Nonce.Length} bytes");
    }

    /// <summary>Why the rank cannot join; null when it can.</summary>
    public string? Refusal(WorkerEnvironment place)
    {
        string run = Shortened(place.RunId);
        return this switch
        {
            _ when RunId != run => $"this is run \"{run}\", rank {Rank} belongs to \"{RunId}\"; an earlier start, or another "
                + "job that holds this port: choose another MASTER_PORT",
            _ when WorldSize != place.WorldSize => $"rank {Rank} expects {WorldSize} ranks, rank 0 expects {place.WorldSize}",
            _ when Rank < 0 || Rank >= place.WorldSize => $"there is no place for rank {Rank} among {place.WorldSize}",
            _ => null,
        };
    }

    private static string Shortened(string name) => name.Length <= LongestName ? name : name[..LongestName];
}

/// <summary>How both sides prove that they know the job's secret without showing it: HMAC-SHA256 over both sides' nonces and
/// the greeting (challenge and response as in RFC 2104's use; an answer is of no use on another connection).</summary>
internal static class StoreProof
{
    public static byte[] OfServer(ReadOnlySpan<byte> secret, StoreHello hello, ReadOnlySpan<byte> nonce) => Of(secret, "store", hello, nonce);

    public static byte[] OfRank(ReadOnlySpan<byte> secret, StoreHello hello, ReadOnlySpan<byte> nonce) => Of(secret, "rank", hello, nonce);

    /// <summary>The key of the run's other links, from a number that rank 0 draws once.</summary>
    public static byte[] SessionKey(ReadOnlySpan<byte> secret, ReadOnlySpan<byte> session) =>
        HMACSHA256.HashData(secret, [.. "session"u8, .. session]);

    public static bool Equal(ReadOnlySpan<byte> one, ReadOnlySpan<byte> other) => CryptographicOperations.FixedTimeEquals(one, other);

    private static byte[] Of(ReadOnlySpan<byte> secret, string role, StoreHello hello, ReadOnlySpan<byte> nonce) =>
        HMACSHA256.HashData(secret, [.. Encoding.ASCII.GetBytes(role), .. nonce, .. hello.Encode()]);
}
