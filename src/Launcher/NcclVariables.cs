namespace DeepSpeedSharp.Launcher;

/// <summary>The variables of NCCL that users set most, and what they mean.</summary>
internal static class NcclVariables
{
    /// <summary>Names and meanings.</summary>
    public static IReadOnlyList<(string Name, string Meaning)> Known { get; } =
    [
        ("NCCL_DEBUG", "WARN or INFO: what NCCL does and why it fails; the first thing to set when something hangs"),
        ("NCCL_SOCKET_IFNAME", "network interfaces to use (eth0), or not to use (^docker0,lo)"),
        ("NCCL_IB_DISABLE", "1: no InfiniBand or RoCE, TCP instead"),
        ("NCCL_IB_HCA", "InfiniBand adapters to use (mlx5_0)"),
        ("NCCL_P2P_DISABLE", "1: no direct way between GPUs, neither NVLink nor PCIe"),
        ("NCCL_SHM_DISABLE", "1: no shared memory between ranks of a host; with it, /dev/shm has to be large (pods have 64 MiB)"),
        ("NCCL_NVLS_ENABLE", "0: no multicast in NVLink switches"),
        ("DEEPSPEED_NCCL_LIBRARY", "the libnccl.so.2 to use instead of libtorch's"),
    ];

    /// <summary>One row for each known variable and each other of NCCL's that is set.</summary>
    /// <param name="environment">The environment.</param>
    public static IEnumerable<(string Name, string? Value)> Rows(IReadOnlyDictionary<string, string> environment)
    {
        foreach ((string name, string meaning) in Known)
        {
            yield return (name, environment.TryGetValue(name, out string? value) ? $"{value} ({meaning})" : $"not set ({meaning})");
        }

        foreach ((string name, string value) in environment.Where(v => v.Key.StartsWith("NCCL_", StringComparison.Ordinal)
            && !Known.Any(known => known.Name == v.Key)).OrderBy(v => v.Key, StringComparer.Ordinal))
        {
            yield return (name, value);
        }
    }
}
