using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>The operator as a program with a proxy of its own, started again whenever it ends, as a Deployment would.</summary>
internal sealed class OperatorProgram : IAsyncDisposable
{
    private readonly ControlPlane _plane;
    private readonly FaultyProxy _proxy;
    private readonly string _kubeconfig, _options;
    private readonly IReadOnlyDictionary<string, string> _environment;
    private readonly CancellationTokenSource _end = new();
    private Task _run = Task.CompletedTask;
    private Process? _process;

    private OperatorProgram(ControlPlane plane, FaultyProxy proxy, string name, string options, IReadOnlyDictionary<string, string>? environment)
    {
        (_plane, _proxy, Name, _options, _environment) = (plane, proxy, name, options, new Dictionary<string, string>(environment ?? new Dictionary<string, string>())
        {
            ["POD_NAME"] = name,
            ["POD_NAMESPACE"] = "default",
            ["DOTNET_EnableDiagnostics"] = "0",
            ["NO_PROXY"] = "*",
        });
        _kubeconfig = Path.Combine(plane.Folder, $"{name}.kubeconfig");
    }

    public string Name { get; }

    /// <summary>How often it was started.</summary>
    public int Starts { get; private set; }

    /// <summary>What is between it and the API server.</summary>
    public FaultyProxy Proxy => _proxy;

    /// <summary>Starts one.</summary>
    /// <param name="plane">The API server.</param>
    /// <param name="name">Its name.</param>
    /// <param name="faults">What goes wrong.</param>
    /// <param name="ledger">Told of every write.</param>
    /// <param name="options">More of its options.</param>
    /// <param name="environment">More of its environment.</param>
    public static async Task<OperatorProgram> StartAsync(
        ControlPlane plane, string name, Faults faults, WriteLedger ledger, string options = "--leader-elect true",
        IReadOnlyDictionary<string, string>? environment = null)
    {
        FaultyProxy proxy = await FaultyProxy.StartAsync(plane, name, faults, ledger);
        var program = new OperatorProgram(plane, proxy, name, options, environment);
        await File.WriteAllTextAsync(program._kubeconfig, $$"""
            apiVersion: v1
            kind: Config
            current-context: test
            contexts: [{ name: test, context: { cluster: test, user: test } }]
            clusters: [{ name: test, cluster: { server: "{{proxy.Address}}" } }]
            users: [{ name: test, user: { token: {{plane.Token}} } }]
            """);
        program._run = program.RunAsync();
        return program;
    }

    /// <summary>kill -KILL.</summary>
    public void Kill() => Signal("KILL");

    /// <summary>kill -STOP, and after a while kill -CONT.</summary>
    public Task StopForAsync(TimeSpan time, CancellationToken cancel) => StopWhileAsync(() => Task.Delay(time, cancel));

    /// <summary>kill -STOP, and kill -CONT when something is done.</summary>
    public async Task StopWhileAsync(Func<Task> work)
    {
        Signal("STOP");
        try
        {
            await work();
        }
        finally
        {
            Signal("CONT");
        }
    }

    /// <summary>The last lines it logged.</summary>
    public string Log => _plane.LogOf(Name);

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _run;
        await _proxy.DisposeAsync();
        _end.Dispose();
    }

    private async Task RunAsync()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "deepspeed-operator");
        while (!_end.IsCancellationRequested)
        {
            Starts++;
            string arguments = string.Create(CultureInfo.InvariantCulture,
                $"--kubeconfig {_kubeconfig} --metrics-port {ControlPlane.FreePorts(1)[0]} --qps 200 --burst 400 --watch-nodes false {_options}");
            Process process = _process = _plane.Start(Name, program, arguments, _environment);

            // Also one that was being started when it was told to end.
            await using CancellationTokenRegistration kill = _end.Token.Register(process.Kill);
            await process.WaitForExitAsync(CancellationToken.None);
            await Task.Delay(500, _end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private void Signal(string signal)
    {
        if (_process is { HasExited: false } process)
        {
            using Process kill = Process.Start("/bin/kill", [$"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)]);
            kill.WaitForExit();
        }
    }
}
