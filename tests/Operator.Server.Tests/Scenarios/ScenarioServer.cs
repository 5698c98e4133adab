using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Operator.Benchmarks;
using DeepSpeedSharp.Operator.Server.Tests.Scenarios;

[assembly: AssemblyFixture(typeof(ScenarioServer))]

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>One control plane and one operator, the program, for all scenarios whose only subject is a job.</summary>
public sealed class ScenarioServer : IAsyncDisposable
{
    private static readonly HttpClient Http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(10) };

    private readonly OwnControlPlane _plane = new();
    private readonly Lazy<Task> _operator;
    private readonly int _port = ControlPlane.FreePorts(1)[0];

    public ScenarioServer() => _operator = new(StartOperatorAsync);

    /// <summary>A namespace of the test's own.</summary>
    internal async Task<Sandbox> SandboxAsync()
    {
        ControlPlane plane = await _plane.GetAsync();
        await _operator.Value;
        return await _plane.SandboxAsync(() => plane.LogOf("operator"));
    }

    /// <summary>The operator's metrics, as Prometheus gets them.</summary>
    internal Task<string> MetricsAsync() => Http.GetStringAsync(Address("/metrics"));

    public ValueTask DisposeAsync() => _plane.DisposeAsync();

    private async Task StartOperatorAsync()
    {
        ControlPlane plane = await _plane.GetAsync();
        string kubeconfig = Path.Combine(plane.Folder, "operator.kubeconfig");
        await File.WriteAllTextAsync(kubeconfig, $$"""
            apiVersion: v1
            kind: Config
            current-context: test
            contexts: [{ name: test, context: { cluster: test, user: test } }]
            clusters: [{ name: test, cluster: { server: "{{plane.Server}}", certificate-authority: {{plane.Folder}}/server.crt } }]
            users: [{ name: test, user: { token: {{plane.Token}} } }]
            """);

        // Jobs may use the host's network here, so that this can be told as well.
        Process process = plane.Run("operator", Path.Combine(AppContext.BaseDirectory, "deepspeed-operator"), string.Create(CultureInfo.InvariantCulture,
            $"--kubeconfig {kubeconfig} --metrics-port {_port} --qps 500 --burst 1000 --progress-interval 0.5 --allow-host-access true"),
            new Dictionary<string, string> { ["POD_NAMESPACE"] = "default", ["DOTNET_EnableDiagnostics"] = "0", ["NO_PROXY"] = "*" });
        var clock = Stopwatch.StartNew();
        while (!await IsReadyAsync())
        {
            Assert.True(clock.Elapsed < Sandbox.Limit && !process.HasExited, $"the operator is not ready after {clock.Elapsed}:\n{plane.LogOf("operator")}");
            await Task.Delay(100);
        }
    }

    private async Task<bool> IsReadyAsync()
    {
        try
        {
            using HttpResponseMessage response = await Http.GetAsync(Address("/readyz"));
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private Uri Address(string path) => new(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{_port}{path}"));
}
