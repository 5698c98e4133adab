using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class LocalPartsTests
{
    [Fact]
    public void Ports_TakenPort_IsReplacedAndSaid()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        int port = ((IPEndPoint)taken.LocalEndpoint).Port;

        LocalPorts ports = LocalPorts.Find(nodes: 1, metricsPort: port);

        Assert.NotEqual(port, ports.Metrics[0]);
        Assert.Contains(ports.Notes, note => note == $"port {port} is taken; node 0 serves metrics on port {ports.Metrics[0]}");
    }

    [Fact]
    public void Ports_BeyondTheLargest_AreReplaced()
    {
        LocalPorts ports = LocalPorts.Find(nodes: 3, metricsPort: 65535);

        Assert.Equal(4, ports.Metrics.Append(ports.Master).Distinct().Count());
        Assert.All(ports.Metrics, port => Assert.InRange(port, 1, 65535));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(5, 16)]
    [InlineData(6, 30)]
    [InlineData(1_000_000, 30)]
    public void Pause_Restart_DoublesUpToThirtySeconds(int restart, int seconds)
    {
        Assert.Equal(TimeSpan.FromSeconds(seconds), RestartPolicy.Pause(restart));
    }

    [Fact]
    public void FindWorker_Nowhere_ListsWhereItLooked()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => WorkerProgram.Find(null, null, "/none/bin/Launcher/release/"));

        Assert.Contains("/none/bin/Launcher/release/deepspeed-worker and /none/bin/WorkerImage/release/deepspeed-worker",
            error.Message, StringComparison.Ordinal);
        Assert.Contains("set DSJ_WORKER", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FindWorker_Places_AreTriedInOrder()
    {
        using var folder = new JobFolder();
        string beside = Program(folder, "bin/Launcher/release/deepspeed-worker");
        string sibling = Program(folder, "bin/WorkerImage/release/deepspeed-worker");
        string own = Program(folder, "own");
        string launcher = folder.Of("bin", "Launcher", "release");

        Assert.Equal(own, WorkerProgram.Find(own, sibling, launcher));
        Assert.Equal(sibling, WorkerProgram.Find(null, sibling, launcher));
        Assert.Equal(beside, WorkerProgram.Find(null, "", launcher));
        File.Delete(beside);
        Assert.Equal(sibling, WorkerProgram.Find(null, null, launcher));
    }

    [Fact]
    public void Resolve_NotExecutable_SaysWhatToRun()
    {
        using var folder = new JobFolder();
        string file = folder.Write("script.sh", "#!/bin/sh\n");

        ConfigException error = Assert.Throws<ConfigException>(() => WorkerProgram.Resolve(file, "/bin"));

        Assert.Contains($"run: chmod +x {file}", error.Message, StringComparison.Ordinal);
        Assert.Equal("/bin/sh", WorkerProgram.Resolve("sh", "/nowhere:/bin"));
    }

    private static string Program(JobFolder folder, string name)
    {
        string path = folder.Write(name, "#!/bin/sh\n");
#pragma warning disable CA1416 // The launcher and its tests are for Linux.
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
#pragma warning restore CA1416
        return path;
    }
}
