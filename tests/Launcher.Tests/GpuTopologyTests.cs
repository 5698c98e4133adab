using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class GpuTopologyTests
{
    [Fact]
    public void Format_Pairs_AreTheMatrixOfNvidiaSmi()
    {
        GpuLink[] links =
        [
            new(0, 1, PeerStatus.Ok, 18, PciePath.NumaNode), new(0, 2, PeerStatus.NotSupported, 0, PciePath.System),
            new(1, 0, PeerStatus.Ok, 18, PciePath.NumaNode), new(1, 2, PeerStatus.TopologyNotSupported, 0, PciePath.OneSwitch),
            new(2, 0, PeerStatus.NotSupported, 0, PciePath.System), new(2, 1, PeerStatus.TopologyNotSupported, 0, PciePath.OneSwitch),
        ];

        Assert.Equal(
        [
            "NVLink between GPUs (as nvidia-smi topo -p2p n):",
            "         GPU0   GPU1   GPU2",
            "  GPU0   X      OK     NS",
            "  GPU1   OK     X      TNS",
            "  GPU2   NS     TNS    X",
            "Ways between GPUs (as nvidia-smi topo -m):",
            "         GPU0   GPU1   GPU2",
            "  GPU0   X      NV18   SYS",
            "  GPU1   NV18   X      PIX",
            "  GPU2   SYS    PIX    X",
            "  OK    they can use NVLink",
            "  TNS   the topology does not support it",
            "  NS    not supported: traffic goes over PCIe",
            "  NV    NV4 and the like: so many NVLink connections",
            "  PIX   one PCIe switch",
            "  SYS   the link between processors",
        ], GpuTopology.Format(3, links));
        Assert.Equal("""{"from":0,"to":1,"nvlink":"OK","links":18,"way":"NV18"}""", GpuTopology.ToJson(links)[0]!.ToJsonString());
    }

    [Theory]
    [InlineData(0, "There is no GPU here, so there are no links between GPUs.")]
    [InlineData(1, "There is one GPU here, so there are no links between GPUs.")]
    [InlineData(2, "The driver does not say how the GPUs are joined.")]
    public void Format_NoPairs_IsASentence(int gpus, string expected) => Assert.Equal([expected], GpuTopology.Format(gpus, []));

    [Fact]
    public void Rows_NcclVariables_SayWhatIsSetAndWhatItMeans()
    {
        var environment = new Dictionary<string, string> { ["NCCL_DEBUG"] = "INFO", ["NCCL_ALGO"] = "Ring", ["HOME"] = "/" };

        Dictionary<string, string?> rows = NcclVariables.Rows(environment).ToDictionary();

        Assert.StartsWith("INFO (WARN or INFO:", rows["NCCL_DEBUG"], StringComparison.Ordinal);
        Assert.StartsWith("not set (network interfaces", rows["NCCL_SOCKET_IFNAME"], StringComparison.Ordinal);
        Assert.Equal("Ring", rows["NCCL_ALGO"]);
        Assert.DoesNotContain("HOME", rows.Keys);
    }
}
