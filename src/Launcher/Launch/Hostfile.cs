using System.Globalization;
using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>DeepSpeed's hostfile: lines of <c>HOST slots=N</c>; blank lines and lines that begin with # are skipped.</summary>
/// <remarks>The order of the lines is the order of the node ranks. What follows the number is ignored, as in DeepSpeed:
/// such files come from MPI and may say <c>max_slots=8</c> there.</remarks>
internal static partial class Hostfile
{
    /// <summary>Where the file is when no option names another.</summary>
    public const string DefaultPath = "/job/hostfile";

    /// <summary>Reads the text of a hostfile.</summary>
    /// <param name="text">The text.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <returns>Hosts in the order of the file.</returns>
    /// <exception cref="ConfigException">Lines are wrong, a host is there twice, or there is none; names every one.</exception>
    public static IReadOnlyList<HostSlots> Parse(string text, string file)
    {
        var errors = new ConfigErrors();
        var hosts = new List<HostSlots>();
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            if (line.Length > 0 && line[0] != '#')
            {
                Read(line, $"line {i + 1}", hosts, errors);
            }
        }

        if (hosts.Count == 0 && !errors.Any)
        {
            errors.Add("hosts", "the hostfile is empty", "write a line \"HOST slots=N\" for each host, or remove the file");
        }

        errors.ThrowIfAny(file);
        return hosts;
    }

    private static void Read(string line, string path, List<HostSlots> hosts, ConfigErrors errors)
    {
        Match match = Line().Match(line);
        if (!match.Success)
        {
            errors.Add(path, $"\"{line}\" is not a line of a hostfile", "write \"HOST slots=N\" without blanks around =");
            return;
        }

        string host = match.Groups["host"].Value;
        if (!int.TryParse(match.Groups["slots"].Value, NumberStyles.None, CultureInfo.InvariantCulture, out int slots)
            || slots is < 1 or > MaximumSlots)
        {
            errors.Add(path, $"slots={match.Groups["slots"].Value} is no number of ranks",
                $"use 1 to {MaximumSlots}; to leave the host out, remove the line");
        }
        else if (hosts.Any(other => other.Host == host))
        {
            errors.Add(path, $"the host {host} is there twice", "keep one of its lines");
        }
        else
        {
            hosts.Add(HostSlots.Counting(host, slots));
        }
    }

    // No host has so many; a slip of the finger shall not fill the memory.
    private const int MaximumSlots = 4096;

    [GeneratedRegex(@"^(?<host>\S+)\s+slots=(?<slots>[0-9]+)")]
    private static partial Regex Line();
}
