using System.IO.Hashing;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Checksums of a manifest: XXH3 with 128 bits, which keeps up with memory and finds every damage that happens by itself.</summary>
/// <remarks>Collet, "xxHash fast digest algorithm", specification 0.2. It does not protect against forgery; file permissions do.</remarks>
internal static class Checksum
{
    /// <summary>Of bytes that are there.</summary>
    public static string Of(ReadOnlySpan<byte> bytes) => Text(XxHash128.Hash(bytes));

    /// <summary>As a manifest has it: 32 hexadecimal digits.</summary>
    public static string Text(byte[] hash) => Convert.ToHexStringLower(hash);
}
