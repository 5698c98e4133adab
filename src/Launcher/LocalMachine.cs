using System.Collections;

namespace DeepSpeedSharp.Launcher;

/// <summary>What a plan needs to know about this machine.</summary>
/// <param name="Name">Its host name.</param>
/// <param name="Cores">Processors this program may use.</param>
/// <param name="Environment">The launcher's own environment.</param>
internal sealed record LocalMachine(string Name, int Cores, IReadOnlyDictionary<string, string> Environment)
{
    /// <summary>This machine.</summary>
    public static LocalMachine Current() => new(System.Environment.MachineName, System.Environment.ProcessorCount,
        System.Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .ToDictionary(entry => (string)entry.Key, entry => (string?)entry.Value ?? ""));
}
