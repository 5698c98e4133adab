using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The filters of <c>--include</c> and <c>--exclude</c>: <c>HOST[:SLOT[,SLOT...]][@HOST...]</c>.</summary>
/// <remarks>
/// A host without slots means all of its slots. The same host twice is the union; a mention with slots is more exact
/// than one without, and counts alone. The result keeps the order of the hostfile.
/// </remarks>
internal static class ResourceFilter
{
    /// <summary>Applies at most one of the two filters.</summary>
    /// <param name="pool">The hosts there are.</param>
    /// <param name="include">What to keep; empty to keep all.</param>
    /// <param name="exclude">What to leave out; empty for nothing.</param>
    /// <exception cref="ConfigException">Both are given, one is wrong, or nothing is left.</exception>
    public static IReadOnlyList<HostSlots> Apply(IReadOnlyList<HostSlots> pool, string include, string exclude)
    {
        if (include.Length > 0 && exclude.Length > 0)
        {
            throw Refusal.Option("--include", "--include and --exclude are both given", "keep one of them");
        }

        if (include.Length == 0 && exclude.Length == 0)
        {
            return pool;
        }

        string option = include.Length > 0 ? "--include" : "--exclude";
        Dictionary<string, HashSet<string>> named = Read(include + exclude, option, pool);
        List<HostSlots> left = [.. pool
            .Select(host => host with { Slots = [.. host.Slots.Where(slot => IsNamed(host.Host, slot) == include.Length > 0)] })
            .Where(host => host.Slots.Count > 0)];
        return left.Count > 0 ? left
            : throw Refusal.Option(option, $"{include}{exclude} leaves no resources", "leave at least one slot");

        bool IsNamed(string host, string slot) => named.TryGetValue(host, out HashSet<string>? slots) && slots.Contains(slot);
    }

    private static Dictionary<string, HashSet<string>> Read(string text, string option, IReadOnlyList<HostSlots> pool)
    {
        var errors = new ConfigErrors();
        var whole = new HashSet<string>();
        var named = new Dictionary<string, HashSet<string>>();
        foreach (string node in text.Split('@'))
        {
            string[] parts = node.Split(':');
            HostSlots? host = pool.FirstOrDefault(h => h.Host == parts[0]);
            if (host is null)
            {
                string fix = NearestName.Find(parts[0], pool.Select(h => h.Host)) is { } near ? $"did you mean {near}?"
                    : $"the hosts are {string.Join(", ", pool.Select(h => h.Host).Take(8))}";
                errors.Add(option, $"there is no host \"{parts[0]}\"", fix);
            }
            else if (parts.Length > 2)
            {
                errors.Add(option, $"\"{node}\" has more than one colon", "write HOST:SLOT,SLOT and @ between hosts");
            }
            else if (parts.Length == 1)
            {
                whole.Add(host.Host);
            }
            else
            {
                named.TryAdd(host.Host, []);
                named[host.Host].UnionWith(parts[1].Split(',').Where(slot => Check(slot, host, option, errors)));
            }
        }

        errors.ThrowIfAny(Refusal.CommandLine);
        foreach (HostSlots host in pool.Where(h => whole.Contains(h.Host)))
        {
            named.TryAdd(host.Host, [.. host.Slots]);
        }

        return named;
    }

    private static bool Check(string slot, HostSlots host, string option, ConfigErrors errors)
    {
        if (host.Slots.Contains(slot))
        {
            return true;
        }

        if (!int.TryParse(slot, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _))
        {
            errors.Add(option, $"\"{slot}\" of {host.Host} is not the number of a slot",
                "write the numbers with commas between them; ranges are not known");
        }
        else
        {
            errors.Add(option, $"the host {host.Host} has no slot {slot}", $"its slots are {string.Join(",", host.Slots)}");
        }

        return false;
    }
}
