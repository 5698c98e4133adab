using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>A DeepSpeedJob on the cluster, and waiting for it.</summary>
internal sealed class Job(Kubectl kubectl, string name) : IAsyncDisposable
{
    // A limit of a wait is there to end it, not to measure anything.
    public const int Patience = 3;

    private static readonly HttpClient Http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(3) };

    public string Name => name;

    /// <summary>Applies a manifest and shows it.</summary>
    public static async Task<Job> ApplyAsync(Kubectl kubectl, string name, string file)
    {
        ShellResult result = await kubectl.ShowAsync("apply", "-f", file);
        Assert.True(result.ExitCode == 0, result.All);
        return new Job(kubectl, name);
    }

    public static string Manifest(string file) => RepositoryFiles.Of("tests", "Operator.Cluster.Tests", "jobs", file);

    public async Task<JsonNode> StatusAsync()
    {
        ShellResult result = await kubectl.RunAsync("get", "dsj", name, "-o", "json");
        return result.ExitCode == 0 && JsonNode.Parse(result.Output)?["status"] is { } status ? status : new JsonObject();
    }

    public async Task<JsonNode?> ConditionAsync(string type) => Condition(await StatusAsync(), type);

    public static JsonNode? Condition(JsonNode status, string type) =>
        status["conditions"]?.AsArray().FirstOrDefault(c => (string?)c!["type"] == type);

    public static long Step(JsonNode status) => (long?)status["progress"]?["step"] ?? 0;

    /// <summary>The job's pods.</summary>
    public async Task<IReadOnlyList<JsonNode>> PodsAsync()
    {
        string list = await kubectl.GetAsync("get", "pods", "-l", $"deepspeedsharp.dev/job-name={name}", "-o", "json");
        return [.. JsonNode.Parse(list)!["items"]!.AsArray().Select(p => p!)];
    }

    public async Task<string> PodFieldAsync(string pod, string path) =>
        await kubectl.GetAsync("get", "pod", pod, "-o", $"jsonpath={{{path}}}");

    /// <summary>The job's folder of checkpoints on this machine; null when it has no volume.</summary>
    public async Task<string?> CheckpointsAsync()
    {
        string volume = (await kubectl.RunAsync("get", "pvc", $"{name}-checkpoints", "-o", "jsonpath={.spec.volumeName}")).Output.Trim();
        return volume.Length == 0 ? null
            : Path.Combine(await kubectl.GetAsync("get", "pv", volume, "-o", "jsonpath={.spec.hostPath.path}"), name);
    }

    /// <summary>What rank 0 says at /progress, without the API server.</summary>
    public static async Task<JsonNode> ProgressAsync(string ip) =>
        JsonNode.Parse(await Http.GetStringAsync($"http://{ip}:9400/progress"))!;

    /// <summary>Waits until the status is as wanted.</summary>
    /// <param name="what">What is waited for.</param>
    /// <param name="wanted">Whether it is so.</param>
    /// <param name="seconds">What is enough on a quiet machine; a busy one gets <see cref="Patience"/> times as long.</param>
    public async Task<JsonNode> WaitAsync(string what, Func<JsonNode, bool> wanted, int seconds)
    {
        seconds *= Patience;
        var clock = Stopwatch.StartNew();
        JsonNode status;
        do
        {
            status = await StatusAsync();
            if (wanted(status))
            {
                return status;
            }

            if ((string?)status["phase"] == "Failed")
            {
                break;
            }

            await Task.Delay(500);
        }
        while (clock.Elapsed.TotalSeconds < seconds);

        Assert.Fail($"{name} did not come to this within {clock.Elapsed.TotalSeconds:0} s: {what}\n{await StateAsync()}");
        return status;
    }

    public Task<JsonNode> WaitForPhaseAsync(string phase, int seconds) =>
        WaitAsync($"phase {phase}", s => (string?)s["phase"] == phase, seconds);

    public Task<JsonNode> WaitForStepAsync(long step, int seconds) =>
        WaitAsync(string.Create(CultureInfo.InvariantCulture, $"step {step}"), s => Step(s) >= step, seconds);

    /// <summary>Waits until something is so that kubectl alone does not show.</summary>
    /// <inheritdoc cref="WaitAsync(string, Func{JsonNode, bool}, int)"/>
    public async Task WaitAsync(string what, Func<Task<bool>> wanted, int seconds)
    {
        seconds *= Patience;
        var clock = Stopwatch.StartNew();
        while (!await wanted())
        {
            if (clock.Elapsed.TotalSeconds > seconds)
            {
                Assert.Fail($"{name}: not within {seconds} s: {what}\n{await StateAsync()}");
            }

            await Task.Delay(500);
        }
    }

    /// <summary>Removes the job and its volume's content, whatever happened to it; the next test needs the processors.</summary>
    public async ValueTask DisposeAsync()
    {
        await kubectl.RunAsync("delete", "dsj", name, "--ignore-not-found", "--timeout=60s");
        await kubectl.RunAsync("delete", "pods", "-l", $"deepspeedsharp.dev/job-name={name}", "--force", "--grace-period=0", "--timeout=30s");
        string volume = (await kubectl.RunAsync("get", "pvc", $"{name}-checkpoints", "-o", "jsonpath={.spec.volumeName}")).Output.Trim();
        if (TestCluster.IsOwn && volume.Length > 0)
        {
            string? folder = await CheckpointsAsync();
            await kubectl.RunAsync("delete", "pvc", $"{name}-checkpoints", "--timeout=30s");
            await Shell.RunAsync("rm", ["-rf", folder!], TimeSpan.FromSeconds(30));

            // A released volume is not given to another claim by itself.
            await kubectl.RunAsync("patch", "pv", volume, "--type=json", "-p", """[{"op":"remove","path":"/spec/claimRef"}]""");
        }
    }

    /// <summary>Everything a person would look at when a test fails.</summary>
    public async Task<string> StateAsync()
    {
        string[][] commands =
        [
            ["get", "dsj", name, "-o", "yaml"],
            ["get", "pods", "-o", "wide"],
            ["describe", "pods", "-l", $"deepspeedsharp.dev/job-name={name}"],
            ["logs", "-l", $"deepspeedsharp.dev/job-name={name}", "--tail=20", "--prefix"],
            ["-n", "deepspeed-system", "logs", "deployment/deepspeed-operator", "--tail=40"],
        ];
        var text = new StringBuilder();
        foreach (string[] command in commands)
        {
            ShellResult result = await kubectl.RunAsync(command);
            text.AppendLine(CultureInfo.InvariantCulture, $"$ kubectl {string.Join(' ', command)}\n{result.All}\n");
        }

        return text.ToString();
    }
}
