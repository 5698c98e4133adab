using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>What the launchers of unmodified images read: torchrun from PET_*, DeepSpeed's from arguments that refer to
/// these variables.</summary>
public static class LauncherVariables
{
    /// <summary>Largest world info that is put into a variable; Linux allows 128 KiB for one.</summary>
    public const int LongestWorldInfo = 100_000;

    /// <summary>Name of the variable with the hosts for <c>deepspeed.launcher.launch</c>.</summary>
    public const string WorldInfo = "DSJ_WORLD_INFO";

    /// <summary>Names that launchers own; users may not set them.</summary>
    public static IReadOnlyList<string> Reserved { get; } =
    [
        "PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT", "PET_RDZV_ID",
        "PET_MAX_RESTARTS", WorldInfo, "DEEPSPEED_ELASTICITY_CONFIG",
    ];

    // Set unless the user sets them, for images that run Python.
    private static readonly KeyValuePair<string, string>[] Python =
        [new("PYTHONUNBUFFERED", "1"), new("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")];

    /// <summary>The hosts and their slots as URL-safe base64 of JSON, as DeepSpeed's runner hands them to its launcher.</summary>
    /// <param name="hosts">Host names in rank order.</param>
    /// <param name="slots">Ranks of each.</param>
    public static string EncodeWorldInfo(IReadOnlyList<string> hosts, int slots)
    {
        var world = new JsonObject();
        foreach (string host in hosts)
        {
            world[host] = new JsonArray([.. Enumerable.Range(0, slots).Select(i => (JsonNode)i)]);
        }

        return Convert.ToBase64String(Encoding.UTF8.GetBytes(world.ToJsonString())).Replace('+', '-').Replace('/', '_');
    }

    /// <summary>Variables that are the same on all nodes.</summary>
    internal static IEnumerable<KeyValuePair<string, string>> Of(
        DeepSpeedJobSpec spec, JobIdentity identity, IReadOnlyList<string> hosts, string? elasticity)
    {
        if (spec.Mode() == LaunchMode.Torchrun)
        {
            yield return new("PET_RDZV_ID", string.Create(CultureInfo.InvariantCulture, $"{identity.Uid}-{identity.Attempt}"));
        }

        if (spec.Mode() == LaunchMode.DeepSpeed && EncodeWorldInfo(hosts, spec.PodSlots()) is { Length: <= LongestWorldInfo } world)
        {
            yield return new(WorldInfo, world);
        }

        if (elasticity is not null)
        {
            yield return new("DEEPSPEED_ELASTICITY_CONFIG", elasticity);
        }

        if (!string.IsNullOrEmpty(spec.Network?.Interface))
        {
            yield return new("NCCL_SOCKET_IFNAME", spec.Network.Interface);
            yield return new("GLOO_SOCKET_IFNAME", spec.Network.Interface);
        }

        if (spec.Mode() is LaunchMode.Torchrun or LaunchMode.DeepSpeed)
        {
            foreach (KeyValuePair<string, string> variable in Python.Where(v => spec.Env?.Any(e => e.Name == v.Key) != true))
            {
                yield return variable;
            }
        }
    }

    /// <summary>Variables of one node. torchrun takes every option from PET_{OPTION}; it must not restart ranks by itself,
    /// as the job's restart replaces all of them.</summary>
    internal static IEnumerable<KeyValuePair<string, string>> OfNode(DeepSpeedJobSpec spec, WorkerEnvironment place)
    {
        if (spec.Mode() == LaunchMode.Torchrun)
        {
            yield return new("PET_NNODES", Text(place.Nodes));
            yield return new("PET_NPROC_PER_NODE", Text(place.LocalWorldSize));
            yield return new("PET_NODE_RANK", Text(place.NodeRank));
            yield return new("PET_MASTER_ADDR", place.MasterAddress);
            yield return new("PET_MASTER_PORT", Text(place.MasterPort));
            yield return new("PET_MAX_RESTARTS", "0");
        }
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
