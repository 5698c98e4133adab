using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>A namespace of a real API server: what a user does to jobs there, and waiting for what follows.</summary>
/// <param name="api">The API server.</param>
/// <param name="ns">The namespace.</param>
/// <param name="reaper">Ends pods that are told to end.</param>
/// <param name="log">What the operator logged, for messages.</param>
internal sealed class Sandbox(ApiClient api, string ns, PodReaper reaper, Func<string> log)
{
    /// <summary>Everything here takes a second or two; this is for machines that are busy.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(300);

    private const string Two = """{"image":"w","numNodes":2,"progress":{"mode":"None"},"restart":{"backoffSeconds":0}}""";

    public string Namespace => ns;

    public ApiClient Api => api;

    /// <summary>What happens to pods.</summary>
    public Kubelet Kubelet { get; } = new(api, ns);

    /// <summary>Pods that are told to end do not.</summary>
    public void HoldEndingPods() => reaper.Hold(ns);

    /// <summary>Creates a job, of two nodes that ask nobody for progress and start again at once, unless told otherwise.</summary>
    public Task CreateJobAsync(string name, string spec = Two, string labels = "{}") => api.PostAsync(Path("deepspeedjobs"),
        $$$"""{"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","metadata":{"name":"{{{name}}}","labels":{{{labels}}}},"spec":{{{spec}}}}""");

    /// <summary>Creates a job and lets all its pods run.</summary>
    public async Task<JsonNode> RunJobAsync(string name, string spec = Two)
    {
        await CreateJobAsync(name, spec);
        return await RunPodsAsync(name);
    }

    /// <summary>Lets all pods of an attempt run, as soon as they are there.</summary>
    public async Task<JsonNode> RunPodsAsync(string job, int attempt = 1)
    {
        JsonNode status = await CreatedAsync(job, attempt);
        for (int i = 0; i < (int)status["nodes"]!["desired"]!; i++)
        {
            await Kubelet.RunAsync(Kubelet.Pod(job, attempt, i));
        }

        return await UntilAsync(job, $"attempt {attempt} runs", s => (string?)s["phase"] == "Running" && (int)s["attempt"]! == attempt);
    }

    /// <summary>The story of a job one of whose two nodes fails once, which is counted, before both succeed. However it is disturbed, it
    /// must end in the same way.</summary>
    public async Task FailOnceAndCompleteAsync(string job)
    {
        await RunJobAsync(job);
        await Kubelet.FailAsync(job, 1, 1);
        await RunPodsAsync(job, 2);
        await Kubelet.SucceedAsync(job, 2);
        Assert.Equal((2, 1, 0), Counters(await UntilPhaseAsync(job, "Complete")));
        Assert.Equal([$"{job}-1-1", $"{job}-2-0", $"{job}-2-1"], (await NamesAsync("pods")).Where(p => p.StartsWith($"{job}-", StringComparison.Ordinal)));
    }

    /// <summary>Waits until all pods of an attempt exist.</summary>
    public Task<JsonNode> CreatedAsync(string job, int attempt = 1) =>
        UntilAsync(job, $"the pods of attempt {attempt} exist", s => (int?)s["createdAttempt"] == attempt);

    /// <summary>The condition by which the operator refuses a spec; it says why, and makes no pods.</summary>
    public async Task<string> RefusalAsync(string job)
    {
        JsonNode failed = await UntilAsync(job, "Failed", "InvalidSpec");
        Assert.Empty(await NamesAsync("pods"));
        return (string)failed["message"]!;
    }

    /// <summary>Changes a spec, by a merge patch.</summary>
    public Task EditAsync(string job, string spec) => api.PatchAsync(Path("deepspeedjobs", job), $$$"""{"spec":{{{spec}}}}""");

    public async Task<JsonNode> StatusAsync(string job) => (await FindAsync("deepspeedjobs", job))?["status"] ?? new JsonObject();

    /// <summary>Names of all objects of a kind.</summary>
    public async Task<string[]> NamesAsync(string plural) =>
        [.. (await ListAsync(plural)).Select(o => (string)o["metadata"]!["name"]!).Order(StringComparer.Ordinal)];

    /// <summary>All objects of a kind.</summary>
    public async Task<JsonNode[]> ListAsync(string plural) =>
        [.. JsonNode.Parse((await api.GetAsync(Path(plural))).GetRawText())!["items"]!.AsArray().Select(o => o!)];

    /// <summary>An object; null when there is none of that name.</summary>
    public async Task<JsonNode?> FindAsync(string plural, string name)
    {
        try
        {
            JsonElement found = await api.GetAsync(Path(plural, name));
            return JsonNode.Parse(found.GetRawText());
        }
        catch (InvalidOperationException e) when (e.Message.Contains(": 404", StringComparison.Ordinal))
        {
            return null;
        }
    }

    /// <summary>Path of a collection of this namespace, or of an object in it.</summary>
    public string Path(string plural, string? name = null)
    {
        string group = plural switch
        {
            "deepspeedjobs" => "/apis/deepspeedsharp.dev/v1alpha1",
            "poddisruptionbudgets" => "/apis/policy/v1beta1",
            "podgroups" => "/apis/scheduling.volcano.sh/v1beta1",
            _ => "/api/v1",
        };
        return $"{group}/namespaces/{ns}/{plural}{(name is null ? "" : $"/{name}")}";
    }

    public static JsonNode? Condition(JsonNode status, string type) =>
        status["conditions"]?.AsArray().FirstOrDefault(c => (string?)c!["type"] == type);

    /// <summary>A variable of the trainer in a pod, which has it once.</summary>
    public static string? Env(JsonNode pod, string name) =>
        (string?)pod["spec"]!["containers"]![0]!["env"]!.AsArray().Single(e => (string?)e!["name"] == name)!["value"];

    /// <summary>Attempt, restarts, disruptions.</summary>
    public static (int, int, int) Counters(JsonNode status) =>
        ((int)status["attempt"]!, (int)status["restarts"]!, (int)status["disruptions"]!);

    /// <summary>Waits until a condition of a job has a reason, or just is True.</summary>
    public async Task<JsonNode> UntilAsync(string job, string condition, string? reason = null) => Condition(
        await UntilAsync(job, $"condition {condition} {reason}", s => Condition(s, condition) is { } c
            && (reason is null ? (string?)c["status"] == "True" : (string?)c["reason"] == reason)), condition)!;

    /// <summary>Waits until a job has a phase.</summary>
    public Task<JsonNode> UntilPhaseAsync(string job, string phase) => UntilAsync(job, $"phase {phase}", s => (string?)s["phase"] == phase);

    /// <summary>Waits until the counts of a job are as wanted. They may wait some seconds for a write, unless there is something to
    /// write at once, such as that an edit was seen.</summary>
    public async Task<JsonNode> CountedAsync(string job, string what, Func<JsonNode, bool> wanted)
    {
        await EditAsync(job, """{"keepFailedPods":2}""");
        return await UntilAsync(job, what, wanted);
    }

    /// <summary>Waits until the status of a job is as wanted.</summary>
    public async Task<JsonNode> UntilAsync(string job, string what, Func<JsonNode, bool> wanted)
    {
        JsonNode status = new JsonObject();
        await UntilAsync($"{job}: {what}", async () => wanted(status = await StatusAsync(job)));
        return status;
    }

    /// <summary>Waits until something is so; fails with all that there is.</summary>
    public async Task UntilAsync(string what, Func<Task<bool>> wanted)
    {
        var clock = Stopwatch.StartNew();
        while (!await wanted())
        {
            if (clock.Elapsed > Limit)
            {
                Assert.Fail($"not within {Limit.TotalSeconds} s: {what}\n{await StateAsync()}");
            }

            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    private async Task<string> StateAsync() => string.Join('\n',
        [.. (await ListAsync("deepspeedjobs")).Select(j => j["status"]?.ToJsonString() ?? "no status"),
         .. (await ListAsync("pods")).Select(p => $"{p["metadata"]!["name"]} {p["metadata"]!["deletionTimestamp"]} {p["status"]!.ToJsonString()}"), log()]);
}
