using System.Text.Json.Nodes;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>How the GPUs of this machine are joined, for people and for programs.</summary>
internal static class GpuTopology
{
    /// <summary>The matrix that <c>nvidia-smi topo -p2p n</c> prints, and one of the ways between the GPUs.</summary>
    /// <param name="gpus">Number of GPUs.</param>
    /// <param name="links">All pairs.</param>
    /// <returns>Lines; a sentence where there are no pairs.</returns>
    public static IReadOnlyList<string> Format(int gpus, IReadOnlyList<GpuLink> links)
    {
        if (gpus < 2)
        {
            return [gpus == 0 ? "There is no GPU here, so there are no links between GPUs." : "There is one GPU here, so there are no links between GPUs."];
        }

        if (links.Count == 0)
        {
            return ["The driver does not say how the GPUs are joined."];
        }

        return
        [
            "NVLink between GPUs (as nvidia-smi topo -p2p n):",
            .. Matrix(gpus, (i, j) => links.FirstOrDefault(l => l.From == i && l.To == j) is { } link ? Short(link.NvLink) : "U"),
            "Ways between GPUs (as nvidia-smi topo -m):",
            .. Matrix(gpus, (i, j) => links.FirstOrDefault(l => l.From == i && l.To == j) is { } link ? Way(link) : "?"),
            .. Legend(links).Select(line => $"  {line}"),
        ];
    }

    /// <summary>The pairs for programs.</summary>
    public static JsonArray ToJson(IReadOnlyList<GpuLink> links) => [.. links.Select(link => new JsonObject
    {
        ["from"] = link.From,
        ["to"] = link.To,
        ["nvlink"] = Short(link.NvLink),
        ["links"] = link.Links,
        ["way"] = Way(link),
    })];

    private static IEnumerable<string> Matrix(int gpus, Func<int, int, string> cell)
    {
        string[] names = [.. Enumerable.Range(0, gpus).Select(i => $"GPU{i}")];
        yield return Line("", names);
        for (int i = 0; i < gpus; i++)
        {
            yield return Line(names[i], Enumerable.Range(0, gpus).Select(j => i == j ? "X" : cell(i, j)));
        }

        static string Line(string name, IEnumerable<string> cells) => ("  " + name.PadRight(7) + string.Concat(cells.Select(c => c.PadRight(7)))).TrimEnd();
    }

    private static IEnumerable<string> Legend(IReadOnlyList<GpuLink> links)
    {
        string[] shown = [.. links.SelectMany(link => new[] { Short(link.NvLink), Way(link) }).Distinct()];
        (string Name, string Meaning)[] meanings =
        [
            ("OK", "they can use NVLink"), ("CNS", "the chipset does not support it"), ("GNS", "a GPU does not support it"),
            ("TNS", "the topology does not support it"), ("DR", "switched off in the driver"), ("NS", "not supported: traffic goes over PCIe"),
            ("U", "unknown"), ("NV", "NV4 and the like: so many NVLink connections"), ("BOARD", "two GPUs of one board"),
            ("PIX", "one PCIe switch"), ("PXB", "several PCIe switches"), ("PHB", "the processor's PCIe bridge"),
            ("NODE", "PCIe bridges of one NUMA node"), ("SYS", "the link between processors"),
        ];
        return meanings.Where(m => shown.Contains(m.Name) || (m.Name == "NV" && links.Any(l => l.Links > 0))).Select(m => $"{m.Name,-5} {m.Meaning}");
    }

    private static string Short(PeerStatus status) => status switch
    {
        PeerStatus.Ok => "OK",
        PeerStatus.ChipsetNotSupported => "CNS",
        PeerStatus.GpuNotSupported => "GNS",
        PeerStatus.TopologyNotSupported => "TNS",
        PeerStatus.Disabled => "DR",
        PeerStatus.NotSupported => "NS",
        _ => "U",
    };

    private static string Way(GpuLink link) => link.Links > 0 ? $"NV{link.Links}" : link.Path switch
    {
        PciePath.SameBoard => "BOARD",
        PciePath.OneSwitch => "PIX",
        PciePath.SeveralSwitches => "PXB",
        PciePath.HostBridge => "PHB",
        PciePath.NumaNode => "NODE",
        PciePath.System => "SYS",
        _ => "?",
    };
}
