using DeepSpeedSharp.Operator.Benchmarks;
using DeepSpeedSharp.Operator.Server.Tests.Scenarios;
using DeepSpeedSharp.Operator.Tests;

[assembly: AssemblyFixture(typeof(OwnControlPlane))]

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>An etcd and a kube-apiserver that some tests share; started by the first that needs them. As it is, it is for tests
/// that bring operators of their own.</summary>
public sealed class OwnControlPlane : IAsyncDisposable
{
    private readonly Lazy<Task<ControlPlane>> _plane;
    private readonly CancellationTokenSource _stop = new();
    private PodReaper? _reaper;
    private Task _reaping = Task.CompletedTask;
    private int _namespaces;

    public OwnControlPlane() => _plane = new(StartAsync);

    /// <summary>The control plane. Where its programs are missing, the test is skipped.</summary>
    internal Task<ControlPlane> GetAsync()
    {
        Programs.OrSkip();
        return _plane.Value;
    }

    /// <summary>A new namespace, named after the scenario that the test tells.</summary>
    /// <param name="log">What the operator that looks after it has logged.</param>
    internal async Task<Sandbox> SandboxAsync(Func<string> log)
    {
        ControlPlane plane = await GetAsync();
        string scenario = TestContext.Current.TestMethod!.MethodName.Split('_')[0].ToLowerInvariant();
        var sandbox = new Sandbox(plane.Api, $"{scenario}-{Interlocked.Increment(ref _namespaces)}", _reaper!, log);
        await plane.Api.PostAsync("/api/v1/namespaces", $$$"""{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"{{{sandbox.Namespace}}}"} }""");
        return sandbox;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        if (_plane.IsValueCreated)
        {
            ControlPlane plane = await _plane.Value;
            await _reaping;
            await plane.DisposeAsync();
        }

        _stop.Dispose();
    }

    private async Task<ControlPlane> StartAsync()
    {
        ControlPlane plane = await ControlPlane.StartAsync(
            Path.GetTempPath(), Programs.OrSkip(), RepositoryFiles.Path("deploy", "crds", "deepspeedjobs.yaml"));
        _reaper = new PodReaper(plane.Api);
        _reaping = _reaper.RunAsync(_stop.Token);
        return plane;
    }
}
