using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>What the operator took, as the kernel counts it.</summary>
/// <param name="Cpu">Processor time.</param>
/// <param name="MemoryMiB">Resident memory now.</param>
/// <param name="PeakMiB">Largest resident memory so far (VmHWM).</param>
internal sealed record Usage(TimeSpan Cpu, double MemoryMiB, double PeakMiB);

/// <summary>The operator as its image runs it.</summary>
internal sealed partial class OperatorProcess
{
    private static readonly HttpClient Http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(30) };

    private const string Account = "/run/secrets/kubernetes.io/serviceaccount";

    private readonly Process _process;
    private readonly string _address;

    private OperatorProcess(Process process, string address) => (_process, _address) = (process, address);

    public static async Task<OperatorProcess> StartAsync(ControlPlane plane, string program, int requestsPerSecond)
    {
        int port = ControlPlane.FreePorts(1)[0];
        string arguments = string.Create(CultureInfo.InvariantCulture,
            $"--metrics-port {port} --qps {requestsPerSecond} --burst {2 * requestsPerSecond}");

        // As in its pod: a service account in files, in a mount namespace of its own, and the variables of the image.
        Process process = plane.Run("operator", "unshare", $"--mount --propagation private sh -c 'mount -t tmpfs tmpfs /run && mkdir -p {Account} "
            + $"&& cp {plane.Account}/* {Account} && exec {program} {arguments}'", new Dictionary<string, string>
            {
                ["KUBERNETES_SERVICE_HOST"] = new Uri(plane.Server).Host,
                ["KUBERNETES_SERVICE_PORT"] = new Uri(plane.Server).Port.ToString(CultureInfo.InvariantCulture),
                ["DOTNET_EnableDiagnostics"] = "0",
                ["DOTNET_gcServer"] = "0",
            });
        var started = new OperatorProcess(process, string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}"));
        var clock = Stopwatch.StartNew();
        while (!await started.IsReadyAsync())
        {
            if (clock.Elapsed > TimeSpan.FromSeconds(60) || process.HasExited)
            {
                throw new TimeoutException($"the operator is not ready after 60 s:\n{plane.LogOf("operator")}");
            }

            await Task.Delay(100);
        }

        return started;
    }

    public bool HasEnded => _process.HasExited;

    /// <summary>Ends it as a crash would.</summary>
    public Task KillAsync()
    {
        _process.Kill();
        return _process.WaitForExitAsync();
    }

    public Usage Usage()
    {
        string id = _process.Id.ToString(CultureInfo.InvariantCulture);
        string[] stat = File.ReadAllText($"/proc/{id}/stat").Split(") ")[1].Split(' ');
        long ticks = long.Parse(stat[11], CultureInfo.InvariantCulture) + long.Parse(stat[12], CultureInfo.InvariantCulture);
        string status = File.ReadAllText($"/proc/{id}/status");
        return new Usage(TimeSpan.FromSeconds(ticks / 100.0), Field(status, "VmRSS"), Field(status, "VmHWM"));
    }

    /// <summary>The operator's own metrics.</summary>
    public async Task<OperatorNumbers> NumbersAsync() => new(await Http.GetStringAsync($"{_address}/metrics"));

    private async Task<bool> IsReadyAsync()
    {
        try
        {
            using HttpResponseMessage response = await Http.GetAsync($"{_address}/readyz");
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private static double Field(string status, string name) =>
        double.Parse(Regex.Match(status, $@"{name}:\s+(\d+) kB").Groups[1].Value, CultureInfo.InvariantCulture) / 1024;
}

/// <summary>A scrape of the operator's metrics.</summary>
/// <param name="text">The page.</param>
internal sealed partial class OperatorNumbers(string text)
{
    /// <summary>Sum over all series of a name.</summary>
    public double Sum(string name) => Samples(name).Sum(s => s.Value);

    /// <summary>A percentile of a histogram, interpolated in its bucket as Prometheus does, since an earlier scrape.</summary>
    public double Percentile(string name, double part, OperatorNumbers? since = null)
    {
        (double Bound, double Count)[] buckets =
        [
            .. Samples($"{name}_bucket").Select(s => (Bound(s.Labels), s.Value))
                .GroupBy(s => s.Item1).Select(g => (g.Key, g.Sum(s => s.Value))).OrderBy(b => b.Key),
        ];
        if (since is not null)
        {
            Dictionary<double, double> before = since.Samples($"{name}_bucket").GroupBy(s => Bound(s.Labels)).ToDictionary(g => g.Key, g => g.Sum(s => s.Value));
            buckets = [.. buckets.Select(b => (b.Bound, b.Count - before.GetValueOrDefault(b.Bound)))];
        }

        double wanted = buckets.Length == 0 ? 0 : buckets[^1].Count * part;
        (double lower, double below) = (0, 0);
        foreach ((double bound, double count) in buckets)
        {
            if (count >= wanted && count > below)
            {
                return double.IsInfinity(bound) ? lower : lower + (bound - lower) * (wanted - below) / (count - below);
            }

            (lower, below) = (bound, count);
        }

        return 0;
    }

    private IEnumerable<(string Labels, double Value)> Samples(string name) => text.Split('\n')
        .Where(l => l.StartsWith(name, StringComparison.Ordinal) && l.Length > name.Length && l[name.Length] is '{' or ' ')
        .Select(l => (l[name.Length..l.LastIndexOf(' ')], Number(l[(l.LastIndexOf(' ') + 1)..])));

    private static double Bound(string labels) => Number(Le().Match(labels).Groups[1].Value);

    private static double Number(string text) => text == "+Inf" ? double.PositiveInfinity : double.Parse(text, CultureInfo.InvariantCulture);

    [GeneratedRegex("le=\"([^\"]+)\"")]
    private static partial Regex Le();
}
