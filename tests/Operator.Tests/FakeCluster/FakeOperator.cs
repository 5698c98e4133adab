using System.Text;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Api.Schema;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>A fake cluster with the real operator against it, and a clock that the test moves.</summary>
internal sealed class FakeOperator : IAsyncDisposable
{
    private OperatorProcess? _process;
    private int _starts;

    private FakeOperator(FakeApi api)
    {
        Api = api;
        api.Store.Time = Time;
    }

    public FakeApi Api { get; }

    /// <summary>The clock of everything in it.</summary>
    public ProcessClock Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public OperatorMetrics Metrics => _process!.Metrics;

    /// <summary>Name that requests of the running operator carry.</summary>
    public string Client => _process!.Name;

    public static async Task<FakeOperator> StartAsync(OperatorOptions? options = null, Action<FakeApi>? before = null)
    {
        FakeApi api = await FakeApi.StartAsync();
        api.Definition = JobDefinition.Build();
        var fake = new FakeOperator(api);
        before?.Invoke(fake.Api);
        fake.Start(options ?? new OperatorOptions());
        return fake;
    }

    /// <summary>Starts it with a job "a", both of whose pods run.</summary>
    public static async Task<FakeOperator> StartRunningAsync()
    {
        FakeOperator fake = await StartAsync();
        fake.Apply("a");
        await fake.Until(() => fake.PodExists("a-1-1"), "pods exist");
        fake.Api.Run("a-1-0");
        fake.Api.Run("a-1-1");
        await fake.UntilPhase("a", "Running");
        return fake;
    }

    /// <summary>Starts another operator in the place of the one before, which is gone at once.</summary>
    public void Start(OperatorOptions? options = null)
    {
        _process?.Kill();
        _process = new OperatorProcess(Api, $"operator-{++_starts}", Time, options ?? new OperatorOptions(), pageSize: 2);
    }

    public void Apply(string name, string spec = """{"image":"worker:1","numNodes":2}""", string ns = "default") => Api.Store.Create(
        new ResourcePath("deepspeedjobs", ns, null, null),
        new JsonObject
        {
            ["apiVersion"] = "deepspeedsharp.dev/v1alpha1",
            ["kind"] = "DeepSpeedJob",
            ["metadata"] = new JsonObject { ["name"] = name },
            ["spec"] = JsonNode.Parse(spec),
        });

    public void Edit(string name, string specPatch) => Api.Store.Patch(
        new ResourcePath("deepspeedjobs", "default", name, null),
        new JsonObject { ["spec"] = JsonNode.Parse(specPatch) });

    public JsonNode Status(string name) => Api.Store.Find("deepspeedjobs", name)?["status"] ?? new JsonObject();

    public JsonNode? Condition(string name, string type) =>
        Status(name)["conditions"]?.AsArray().FirstOrDefault(c => (string?)c!["type"] == type);

    public bool PodExists(string pod) => Api.Store.Find("pods", pod) is not null;

    /// <summary>Why the operator does not look after jobs yet.</summary>
    public string? Waits => _process!.Waits;

    /// <summary>Moves the clock in small steps until something is so; fails with the cluster's state.</summary>
    public async Task Until(Func<bool> condition, string what, Func<Task>? eachStep = null)
    {
        for (int i = 0; i < 1500; i++)
        {
            if (condition())
            {
                return;
            }

            if (eachStep is not null)
            {
                await eachStep();
            }

            Time.Advance(TimeSpan.FromMilliseconds(250));
            await Task.Delay(4, TestContext.Current.CancellationToken);
            if (_process!.Run.IsFaulted)
            {
                await _process.Run;
            }
        }

        string objects = string.Join("\n", Api.Store.All("deepspeedjobs").Concat(Api.Store.All("pods")).Select(o => o.ToJsonString()));
        Assert.Fail($"never came true: {what}\n{objects}");
    }

    public Task UntilPhase(string name, string phase) => Until(() => (string?)Status(name)["phase"] == phase, $"{name} is {phase}");

    /// <summary>Waits until the operator has seen every change and has nothing to do until time passes.</summary>
    public Task UntilQuiet() => Until(() => _process!.IsQuiet, "the operator has seen everything and has nothing to do");

    /// <summary>Lets the operator work for a while.</summary>
    public async Task Settle(int seconds = 20)
    {
        for (int i = 0; i < seconds * 4; i++)
        {
            Time.Advance(TimeSpan.FromMilliseconds(250));
            await Task.Delay(4, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>The metrics, as Prometheus gets them.</summary>
    public async Task<string> ScrapeAsync()
    {
        using var text = new MemoryStream();
        await Metrics.Registry.CollectAndExportAsTextAsync(text, TestContext.Current.CancellationToken);
        return Encoding.UTF8.GetString(text.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await _process.DisposeAsync();
        }

        await Api.DisposeAsync();
    }
}
