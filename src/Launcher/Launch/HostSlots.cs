using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>A host and its slots, one for each rank there.</summary>
/// <param name="Host">The name that ssh knows it by.</param>
/// <param name="Slots">Device ids in the order of the local ranks: numbers, or UUIDs of GPUs and MIG instances.</param>
internal sealed record HostSlots(string Host, IReadOnlyList<string> Slots)
{
    /// <summary>A host with the slots 0 to <paramref name="count"/> - 1.</summary>
    public static HostSlots Counting(string host, int count) =>
        new(host, [.. Enumerable.Range(0, count).Select(i => i.ToString(CultureInfo.InvariantCulture))]);
}

/// <summary>Makes the exceptions of this folder: one problem, where it is, what to do.</summary>
internal static class Refusal
{
    /// <summary>The subject of problems with options.</summary>
    public const string CommandLine = "the command line";

    /// <summary>A problem with the options.</summary>
    public static ConfigException Option(string option, string problem, string fix) => Of(CommandLine, option, problem, fix);

    /// <summary>A problem with something else, for example a file.</summary>
    public static ConfigException Of(string subject, string path, string problem, string fix) =>
        new(subject, [new ConfigError(path, problem, fix)]);
}
