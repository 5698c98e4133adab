using DeepSpeedSharp.Operator.Cluster.Tests;

[assembly: AssemblyFixture(typeof(TestCluster))]
[assembly: CollectionBehavior(DisableTestParallelization = true)]
[assembly: TestCollectionOrderer(typeof(OutageLast))]

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The cluster of tests/cluster with operator, worker image and Prometheus; one for all tests.</summary>
/// <remarks><c>DEEPSPEED_TEST_KEEP=1</c> uses a cluster that is up and leaves it up, for work on the tests themselves.</remarks>
public sealed class TestCluster : IAsyncLifetime
{
    private static readonly bool Keep = Environment.GetEnvironmentVariable("DEEPSPEED_TEST_KEEP") == "1";

    private readonly string _state = Environment.GetEnvironmentVariable("DEEPSPEED_TEST_STATE")
        ?? Path.Combine(Path.GetTempPath(), "deepspeedsharp-cluster");

    private bool _isUp;

    /// <summary>Why there is no cluster here; null when there is one.</summary>
    public string? SkipReason { get; private set; }

    /// <summary>Whether the cluster is the harness' own, so that its processes and volumes are on this machine.</summary>
    public static bool IsOwn => Environment.GetEnvironmentVariable("DEEPSPEED_TEST_CLUSTER") != "existing";

    /// <summary>Address of Prometheus.</summary>
    public static string Prometheus =>
        $"http://127.0.0.1:{Environment.GetEnvironmentVariable("DEEPSPEED_TEST_PROMETHEUS_PORT") ?? "29090"}";

    /// <summary>The administrator's kubeconfig.</summary>
    public string Kubeconfig => Path.Combine(_state, "kubeconfig");

    public async ValueTask InitializeAsync()
    {
        ShellResult install = await Script("install.sh", TimeSpan.FromMinutes(30));
        if (install.ExitCode == 77)
        {
            SkipReason = install.Error.Trim();
            TestContext.Current.SendDiagnosticMessage("cluster tests are skipped: {0}", SkipReason);
            return;
        }

        if (!(Keep && await IsReachable()))
        {
            await Must("up.sh", TimeSpan.FromMinutes(3), _state);
        }

        _isUp = true;
        await Must("images.sh", TimeSpan.FromMinutes(15), "--state", _state);
        await Must("install-operator.sh", TimeSpan.FromMinutes(3), "--state", _state);
        if (IsOwn)
        {
            await Must("prometheus.sh", TimeSpan.FromMinutes(1), "start", _state);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_isUp)
        {
            return;
        }

        var kubectl = new Kubectl(this, "operator");
        await kubectl.ShowAsync("-n", "deepspeed-system", "logs", "deployment/deepspeed-operator", "--tail=-1");
        if (!Keep)
        {
            await Must("down.sh", TimeSpan.FromMinutes(2), _state);
            await Must("leaks.sh", TimeSpan.FromMinutes(1), _state);
        }
    }

    /// <summary>Stops or starts the API server alone.</summary>
    internal Task ApiServer(string action) => Must("apiserver.sh", TimeSpan.FromMinutes(2), action, _state);

    /// <summary>Installs the operator anew, with other values of its chart: "--set", "name=value" and so on.</summary>
    internal Task InstallOperator(params string[] options) => Must("install-operator.sh", TimeSpan.FromMinutes(4), ["--state", _state, .. options]);

    /// <summary>Builds and loads an image that the tests do not always need.</summary>
    internal Task BuildImage(string name) => Must("images.sh", TimeSpan.FromMinutes(10), "--state", _state, name);

    /// <summary>Renders the chart into a file.</summary>
    internal static async Task<string> Render(params string[] options)
    {
        ShellResult result = await Script("render-chart.sh", TimeSpan.FromMinutes(1), options);
        Assert.True(result.ExitCode == 0, result.All);
        string file = Path.Combine(Path.GetTempPath(), $"deepspeed-chart-{Guid.NewGuid():N}.yaml");
        await File.WriteAllTextAsync(file, result.Output);
        return file;
    }

    /// <summary>Starts, stops, cuts off or joins a node; see node.sh.</summary>
    internal Task Node(string action, int number) =>
        Must("node.sh", TimeSpan.FromMinutes(3), action, number.ToString(System.Globalization.CultureInfo.InvariantCulture), _state);

    /// <summary>What a container of another node than the first has printed, read on this machine, also while the node is cut off.</summary>
    internal string LogOn(int number, string uid) => string.Join('\n', Directory.Exists(PodLogs(number))
        ? Directory.GetFiles(PodLogs(number), "*.log", SearchOption.AllDirectories)
            .Where(file => file.Contains(uid, StringComparison.Ordinal)).Select(File.ReadAllText) : []);

    private string PodLogs(int number) => Path.Combine(_state, $"node-{number}", "private", "var", "log", "pods");

    private async Task<bool> IsReachable() => File.Exists(Kubeconfig)
        && (await new Kubectl(this, "start").RunAsync("get", "nodes")).ExitCode == 0;

    private static async Task Must(string script, TimeSpan limit, params string[] arguments)
    {
        ShellResult result = await Script(script, limit, arguments);
        Assert.True(result.ExitCode == 0, $"tests/cluster/{script} ended with {result.ExitCode}:\n{result.All}");
    }

    private static Task<ShellResult> Script(string script, TimeSpan limit, params string[] arguments) =>
        Shell.RunAsync("bash", [RepositoryFiles.Of("tests", "cluster", script), .. arguments], limit,
            new Dictionary<string, string> { ["DEEPSPEED_TEST_VOLUMES"] = "10" });
}
