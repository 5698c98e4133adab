using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Tests.Launch;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class BenchTests
{
    [Fact]
    public async Task BenchComm_TwoBackends_PrintsTheTableAndRightValues()
    {
        using var folder = new RankFolder("");

        (int exitCode, string text) = await folder.RunAsync("bench", "comm", "--backend", "shm", "tcp", "--op", "all", "--min-bytes", "64", "--max-bytes", "1000",
            "--iterations", "2", "--json");

        Assert.True(exitCode == 0, $"exit code {exitCode}: {text}");
        JsonElement[] rows = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(2 * 7 * 2, rows.Length); // backends, operations, sizes 64 and 256
        Assert.All(rows, row =>
        {
            Assert.Equal((2, 0), (row.GetProperty("ranks").GetInt32(), row.GetProperty("wrong").GetInt32()));
            Assert.True(row.GetProperty("algbw_gb_per_s").GetDouble() > 0);
        });
        Assert.Equal(["shm", "tcp"], rows.Select(row => row.GetProperty("backend").GetString()!).Distinct());
    }

    [Theory]
    [InlineData("shm", null, false, 0, 2)]
    [InlineData("tcp", 5, false, 0, 5)]
    [InlineData("nccl", null, false, 4, 4)]
    [InlineData("nccl", null, true, 1, 2)]
    [InlineData("nccl", 4, true, 1, 4)]
    public void RanksFor_Backend_AreThoseOfTheMachine(string backend, int? asked, bool share, int gpus, int expected)
    {
        Assert.Equal(expected, new BenchOptions([backend], asked, share, []).RanksFor(backend, gpus));
    }

    [Theory]
    [InlineData(null, 0, "nccl needs GPUs, and there is none on this machine; use shm or tcp")]
    [InlineData(null, 1, "one rank has nobody to talk to; give --ranks 2 --share-gpus")]
    [InlineData(4, 2, "there are 2 GPUs for 4 ranks; give fewer, or --share-gpus")]
    public void RanksFor_TooFewGpus_SaysWhatToDo(int? asked, int gpus, string expected)
    {
        ConfigException error = Assert.Throws<ConfigException>(() => new BenchOptions(["nccl"], asked, false, []).RanksFor("nccl", gpus));

        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Variables_RanksThatShareAGpu_AreHostsOfTheirOwn()
    {
        Dictionary<string, string> shared = BenchOptions.Variables("nccl", 1, 2, 1, 4).ToDictionary();
        Dictionary<string, string> own = BenchOptions.Variables("nccl", 1, 2, 2, 4).ToDictionary();

        Assert.Equal(("bench-1", "lo", "2"), (shared["NCCL_HOSTID"], shared["NCCL_SOCKET_IFNAME"], shared["OMP_NUM_THREADS"]));
        Assert.DoesNotContain("NCCL_HOSTID", own.Keys);
        Assert.Equal("0", BenchOptions.Variables("tcp", 0, 2, 0, 4).ToDictionary()["DEEPSPEED_COMM_SHM"]);
    }
}
