using System.Collections;
using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>The variables that NCCL reads, for reports and messages.</summary>
internal static partial class NcclEnvironment
{
    /// <summary>Those that are set, as NAME=VALUE in order of names. Values of other programs' variables never show.</summary>
    public static IReadOnlyList<string> Variables() =>
        [.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(entry => $"{entry.Key}={entry.Value}")
            .Where(variable => variable.StartsWith("NCCL_", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    /// <summary>The same as the end of a message.</summary>
    public static string Sentence() => Variables() is { Count: > 0 } set ? $" Set here: {string.Join(' ', set)}." : "";

    /// <summary>NCCL's version, where it is from, and its settings, for a start-up report.</summary>
    public static string Description() => $"NCCL {NcclLibrary.Loaded.Version} ({NcclLibrary.Loaded.Place})"
        + (Variables() is { Count: > 0 } set ? $" with {string.Join(' ', set)}" : "");

    /// <summary>Sets what the platform asks of NCCL (AzureML: which interfaces not to use). Before NCCL is first used.</summary>
    public static void ApplyPlatform()
    {
        const string Interfaces = "NCCL_SOCKET_IFNAME";
        if (Environment.GetEnvironmentVariable("AZUREML_EXPERIMENT_ID") is { Length: > 0 } && EnvironmentDiscovery.Variables(Environment.GetEnvironmentVariable).TryGetValue(Interfaces, out string? value))
        {
            // .NET keeps its own copy of the environment; NCCL reads the C library's.
            _ = setenv(Interfaces, value, 0);
            Environment.SetEnvironmentVariable(Interfaces, value);
        }
    }

    [LibraryImport("libc.so.6", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
