using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Expected values of DeepSpeed's own launcher, and what is recommended where it has a defect.</summary>
internal static class Vectors
{
    // What our message has to say for each kind of failure.
    private static readonly Dictionary<string, string> Messages = new()
    {
        ["bad_line"] = "is not a line of a hostfile",
        ["bad_node_rank"] = "--node_rank",
        ["duplicate_host"] = "is there twice",
        ["elastic_needs_master_addr"] = "--master_addr",
        ["empty_hostfile"] = "the hostfile is empty",
        ["include_and_exclude_both"] = "--include and --exclude are both given",
        ["module_and_no_python"] = "--module and --no_python contradict",
        ["no_devices"] = "there is no GPU on this machine",
        ["no_resources_left"] = "leaves no resources",
        ["not_enough_devices"] = "GPUs are asked for, but there are only",
        ["not_enough_nodes"] = "nodes are asked for, but the hostfile has only",
        ["num_nodes_needs_hostfile"] = "need a hostfile",
        ["num_with_include_exclude"] = "cannot be combined with --include and --exclude",
        ["slot_not_integer"] = "is not the number of a slot",
        ["ssh_unreachable"] = "ssh without password does not work",
        ["too_many_colons"] = "more than one colon",
        ["unknown_host"] = "there is no host",
        ["unknown_launcher"] = "--launcher nope: use one of pdsh, ssh,",
        ["unknown_slot"] = "has no slot",
    };

    public static JsonElement[] Read(string file, string list = "cases")
    {
        using JsonDocument document = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "vectors", $"{file}.json")));
        return [.. document.RootElement.GetProperty(list).EnumerateArray().Select(e => e.Clone())];
    }

    public static TheoryData<int> Indices(string file, string list = "cases") => [.. Enumerable.Range(0, Read(file, list).Length)];

    /// <summary>The kind of failure that a case expects; null when it has to work.</summary>
    public static string? ErrorKind(JsonElement expected) =>
        expected.ValueKind == JsonValueKind.Object && expected.TryGetProperty("error_kind", out JsonElement kind) ? kind.GetString() : null;

    /// <summary>Checks that an action refuses, with a message of the expected kind.</summary>
    public static void Refuses(string kind, Action action)
    {
        Exception error = Assert.ThrowsAny<Exception>(action);
        Assert.True(error is ConfigException or UsageException, error.ToString());
        Assert.Contains(Messages[kind], error.Message, StringComparison.Ordinal);
    }

    /// <summary>A list of [host, [slots]] or an object of both.</summary>
    public static IEnumerable<string> Hosts(JsonElement hosts) => hosts.ValueKind == JsonValueKind.Object
        ? hosts.EnumerateObject().Select(h => Line(h.Name, h.Value))
        : hosts.EnumerateArray().Select(h => Line(h[0].GetString()!, h[1]));

    public static IEnumerable<string> Hosts(IEnumerable<HostSlots> hosts) =>
        hosts.Select(h => $"{h.Host} {string.Join(',', h.Slots)}");

    private static string Line(string host, JsonElement slots) =>
        $"{host} {string.Join(',', slots.EnumerateArray().Select(s => s.ToString()))}";
}
