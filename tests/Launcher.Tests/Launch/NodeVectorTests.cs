using System.Text.Json;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Every case of <c>launch_node.json</c>: the processes of one node, and lists of cores.</summary>
public sealed class NodeVectorTests
{
    public static TheoryData<int> Cases() => Vectors.Indices("launch_node");

    public static TheoryData<int> CoreLists() => Vectors.Indices("launch_node", "bind_core_list_parsing");

    [Fact]
    public void Vectors_File_HasAllCases() => Assert.Equal((12, 10), (Cases().Count, CoreLists().Count));

    [Theory]
    [MemberData(nameof(Cases))]
    public void All_Vector_AgreesWithDeepSpeed(int index)
    {
        JsonElement vector = Vectors.Read("launch_node")[index];
        JsonElement reference = vector.GetProperty("reference");
        string[] flags = [.. vector.GetProperty("flags").EnumerateArray().Select(f => f.GetString()!)];
        string program = flags.Contains("--module") ? "pkg.train" : "train.py";
        HostSlots[] hosts = [.. vector.GetProperty("world_info").EnumerateObject().Select(h =>
            new HostSlots(h.Name, [.. h.Value.EnumerateArray().Select(s => s.ToString())]))];
        LaunchOptions options = LaunchOptionReader.Read([.. flags, program, "--a", "1"]);

        if (Vectors.ErrorKind(reference) is { } kind)
        {
            Vectors.Refuses(kind, () => World.Resolve(options, Some.Machine(gpus: 1)));
            return;
        }

        int node = vector.GetProperty("node_rank").GetInt32();
        RankPlan[] ranks = [.. RankPlan.All(new World(hosts, "10.0.0.11", 29500, null, node, false, []), options)
            .Where(r => r.Host == hosts[node].Host)];

        JsonElement[] processes = [.. reference.GetProperty("processes").EnumerateArray()];
        Assert.Equal(processes.Length, ranks.Length);
        foreach ((JsonElement process, int local) in processes.Select((p, i) => (p, i)))
        {
            Dictionary<string, string> variables = ranks[local].Environment.ToDictionary();

            // DeepSpeed permutes local ranks on hosts of unequal size, a known defect: they count from 0 here.
            foreach (JsonProperty expected in process.GetProperty("env").EnumerateObject())
            {
                Assert.Equal(expected.Name == "LOCAL_RANK" ? $"{local}" : expected.Value.GetString(), variables[expected.Name]);
            }

            IEnumerable<string> line = process.GetProperty("prefix").EnumerateArray().Select(w => w.GetString()!.Replace("<interpreter>", "python3", StringComparison.Ordinal))
                .Concat(process.GetProperty("args").EnumerateArray().Select(w => w.GetString()!));
            Assert.Equal(line.Select(w => w.StartsWith("--local_rank=", StringComparison.Ordinal) ? $"--local_rank={local}" : w), ranks[local].CommandLine);
        }
    }

    [Theory]
    [MemberData(nameof(CoreLists))]
    public void CoreList_Vector_AgreesWithDeepSpeed(int index)
    {
        JsonElement vector = Vectors.Read("launch_node", "bind_core_list_parsing")[index];
        string text = vector.GetProperty("text").GetString()!;

        if (Vectors.ErrorKind(vector) is not null)
        {
            Assert.Throws<FormatException>(() => CoreList.Parse(text));
            return;
        }

        int[] cores = [.. vector.GetProperty("cores").EnumerateArray().Select(c => c.GetInt32())];
        Assert.Equal(cores, CoreList.Parse(text));
        Assert.Equal(cores, CoreList.Parse(CoreList.Format(cores)));
    }

    [Fact]
    public void Divide_TwoNumaNodes_GivesEachRankCoresAndMemoryOfOne()
    {
        int[] even = [0, 2, 4, 6], odd = [1, 3, 5, 7];

        IReadOnlyList<CoreBinding> bindings = CoreBinding.Divide([0, 1, 2, 3, 4, 5, 6, 7], [even, odd], ranks: 2);

        Assert.Equal(["numactl", "-C", "0,2,4,6", "-m", "0"], bindings[0].Command(hasNumactl: true));
        Assert.Equal(["taskset", "-c", "1,3,5,7"], bindings[1].Command(hasNumactl: false));
    }

    [Fact]
    public void Divide_UnevenParts_LeavesTheRestAndNeverShares()
    {
        IReadOnlyList<CoreBinding> bindings = CoreBinding.Divide([0, 1, 2, 3, 4, 5, 6], [[0, 1, 2], [3, 4, 5, 6]], ranks: 3);

        Assert.Equal(["0-1", "2-3", "4-5"], bindings.Select(b => CoreList.Format(b.Cores)));
        Assert.Equal(["0", "0-1", "1"], bindings.Select(b => CoreList.Format(b.MemoryNodes)));
    }

    [Fact]
    public void Read_Topology_TakesOneProcessorOfEachAllowedCore()
    {
        using var root = new JobFolder();
        root.Write("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2,5\n");
        root.Write("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,4\n");
        root.Write("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,5\n");
        root.Write("sys/devices/system/cpu/cpu5/topology/thread_siblings_list", "1,5\n");
        root.Write("sys/devices/system/node/node0/cpulist", "0-3\n");
        root.Write("sys/devices/system/node/node1/cpulist", "4-7\n");

        CoreTopology topology = CoreTopology.Read(root.Path);

        Assert.Equal([0, 1, 2], topology.Cores);
        Assert.Equal(["0-3", "4-7"], topology.NumaNodes.Select(n => CoreList.Format(n)));
    }
}
