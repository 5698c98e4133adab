using System.Security.Cryptography;
using System.Text.Json;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Tells whether the pods of an attempt would be made differently today.</summary>
internal static class SpecHash
{
    /// <summary>Hash of what pods are made from; suspend and restart act without new pods.</summary>
    public static string Of(DeepSpeedJobSpec spec)
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(spec with { Suspend = null, Restart = null }, DeepSpeedJobManifest.Json);
        return Convert.ToHexStringLower(SHA256.HashData(json).AsSpan(0, 8));
    }
}
