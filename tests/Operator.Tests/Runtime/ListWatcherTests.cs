using System.Net;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class ListWatcherTests : IAsyncLifetime
{
    private static readonly ListWatchOptions Fast = new()
    {
        PageSize = 3,
        BetweenWatches = TimeSpan.FromMilliseconds(5),
        FirstRetry = TimeSpan.FromMilliseconds(5),
        LongestRetry = TimeSpan.FromMilliseconds(50),
        Idle = TimeSpan.FromSeconds(20),
    };

    private readonly ObjectCache<string> _cache = new(_ => null);
    private readonly CancellationTokenSource _stop = new();
    private FakeApi _api = null!;
    private Kubernetes _client = null!;
    private Task _run = Task.CompletedTask;

    public async ValueTask InitializeAsync()
    {
        _api = await FakeApi.StartAsync();
        _client = _api.Client();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _api.DisposeAsync();
        await _run;
        _client.Dispose();
        _stop.Dispose();
    }

    [Fact]
    public async Task List_OfManyObjects_IsReadInPages()
    {
        Create([.. Enumerable.Range(0, 10).Select(i => $"p{i}")]);

        Start();
        await Holds([.. Enumerable.Range(0, 10).Select(i => $"p{i}")]);

        Assert.Equal(4, _api.Requests.Count(r => r.StartsWith("GET", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Changes_AfterTheList_Arrive()
    {
        Create("a", "b");
        Start();
        await Holds("a", "b");

        Create("c");
        _api.Kill("pods", "a");

        await Holds("b", "c");
    }

    [Fact]
    public async Task Stream_ThatEndsWell_GoesOnFromTheLastVersion()
    {
        Create("a");
        Start();
        await Holds("a");

        await Until(() =>
        {
            _api.Store.EndWatches();
            return _api.Watches.Count >= 2;
        }, "another watch");
        Create("b");
        await Holds("a", "b");

        Assert.Single(_api.Requests);
    }

    [Fact]
    public async Task Version_ThatIsGone_LeadsToANewList()
    {
        Create("a", "b");
        Start();
        await Holds("a", "b");

        _api.Down();
        _api.Kill("pods", "a");
        Create("c");
        _api.Store.Compact();
        _api.Up();

        await Holds("b", "c");
        Assert.Equal(2, _api.Requests.Count);
    }

    [Fact]
    public async Task Server_Away_IsWaitedFor()
    {
        Create("a");
        Start();
        await Holds("a");

        _api.Down();
        await Task.Delay(500, TestContext.Current.CancellationToken);
        Create("b");
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.Equal(["a"], _cache.All());
        _api.Up();

        await Holds("a", "b");
    }

    [Fact]
    public async Task Version_ThatIsGoneAfterALongOutage_LeadsToANewListSoon()
    {
        Create("a");
        Start(Fast with { LongestRetry = TimeSpan.FromMinutes(1) });
        await Holds("a");
        _api.Down();
        await Task.Delay(1000, TestContext.Current.CancellationToken);
        _api.Store.Compact();
        _api.Up();
        int watches = _api.Watches.Count;
        await Until(() => _api.Watches.Count > watches, "the watch is tried again");
        long told = TimeProvider.System.GetTimestamp();

        await Until(() => _api.Requests.Count == 2, "a second list");

        Assert.InRange(TimeProvider.System.GetElapsedTime(told).TotalMilliseconds, 0, 300);
    }

    [Theory]
    [InlineData("""{"type":"MODIFIED","object":""")]
    [InlineData("""{"type":"MODIFIED"}""")]
    [InlineData("""{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd leader changed"}}""")]
    public async Task Line_ThatCannotBeUsed_LeadsToANewList(string line)
    {
        bool sent = false;
        _api.Intercept = async context =>
        {
            if (sent || !context.Request.Query.ContainsKey("watch"))
            {
                return false;
            }

            sent = true;
            await context.Response.StartAsync(context.RequestAborted);
            await context.Response.WriteAsync(line + "\n", context.RequestAborted);
            return true;
        };
        Create("a");
        Start();

        await Until(() => _api.Requests.Count == 2, "a second list");
        Create("b");
        await Holds("a", "b");
    }

    [Fact]
    public async Task Watch_WithoutALine_IsTakenForDead()
    {
        OnFirstWatch(async context =>
        {
            await context.Response.StartAsync(context.RequestAborted);
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        });
        Create("a");
        Start(Fast with { Idle = TimeSpan.FromMilliseconds(200) });
        await Holds("a");

        Create("b");

        await Holds("a", "b");
        Assert.Single(_api.Requests);
    }

    [Fact]
    public async Task Server_ThatNeverAnswers_IsTriedAgain()
    {
        OnFirstWatch(async context =>
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted); // not even headers
        });
        Create("a");
        Start(Fast with { Idle = TimeSpan.FromMilliseconds(500) });
        await Holds("a");

        Create("b");

        await Holds("a", "b");
        Assert.False(_run.IsCompleted);
    }

    [Fact]
    public async Task Watches_ThatAreCutAfterALine_AreNotWaitedForLongerEachTime()
    {
        int watches = 0;
        _api.Intercept = async context =>
        {
            if (!context.Request.Query.ContainsKey("watch"))
            {
                return false;
            }

            Interlocked.Increment(ref watches);
            await context.Response.StartAsync(context.RequestAborted);
            await FakeApi.LineAsync(context, new JsonObject
            {
                ["type"] = "BOOKMARK",
                ["object"] = new JsonObject { ["metadata"] = new JsonObject { ["resourceVersion"] = "4711" } },
            });
            await Task.Delay(20, context.RequestAborted);
            context.Abort();
            return true;
        };
        Create("a");

        // The tenth wait of a row would last 25 s at least.
        Start(Fast with { FirstRetry = TimeSpan.FromMilliseconds(100), LongestRetry = TimeSpan.FromHours(1) });

        await Until(() => Volatile.Read(ref watches) > 12, "twelve watches were cut");
    }

    [Fact]
    public async Task Bookmark_MovesTheVersionOn()
    {
        OnFirstWatch(async context =>
        {
            await FakeApi.LineAsync(context, new JsonObject
            {
                ["type"] = "BOOKMARK",
                ["object"] = new JsonObject { ["metadata"] = new JsonObject { ["resourceVersion"] = "4711" } },
            });
        });
        Create("a");
        Start();

        await Until(() => _api.Watches.Count > 0, "a second watch");

        Assert.Contains("resourceVersion=4711", _api.Watches[0]);
    }

    [Theory]
    [InlineData(HttpStatusCode.Forbidden)]
    [InlineData(HttpStatusCode.InternalServerError)]
    public async Task Error_OfTheList_IsTriedAgain(HttpStatusCode code)
    {
        int errors = 3;
        _api.Intercept = context =>
        {
            bool fails = Interlocked.Decrement(ref errors) >= 0;
            context.Response.StatusCode = (int)(fails ? code : HttpStatusCode.OK);
            return Task.FromResult(fails);
        };
        Create("a");
        Start();

        await Holds("a");
    }

    private void OnFirstWatch(Func<HttpContext, Task> answer)
    {
        int watches = 0;
        _api.Intercept = async context =>
        {
            if (!context.Request.Query.ContainsKey("watch") || Interlocked.Increment(ref watches) > 1)
            {
                return false;
            }

            await answer(context);
            return true;
        };
    }

    private void Create(params string[] names)
    {
        foreach (string name in names)
        {
            _api.Store.Create(new ResourcePath("pods", "default", null, null),
                new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } });
        }
    }

    private void Start(ListWatchOptions? options = null)
    {
        var watcher = new ListWatcher<string>("/api/v1/pods", "", item => item.GetProperty("metadata").GetProperty("name").GetString()!,
            _cache, new ApiConnection(_client, TimeProvider.System), options ?? Fast, TimeProvider.System, NullLogger.Instance);
        _run = watcher.RunAsync(_stop.Token);
    }

    private Task Holds(params string[] names) => Until(() => _cache.All().Order().SequenceEqual(names), string.Join(' ', names));

    private async Task Until(Func<bool> condition, string what)
    {
        for (int i = 0; i < 1000 && !condition(); i++)
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }

        Assert.True(condition(), $"never came true: {what}; the cache has {string.Join(' ', _cache.All().Order())}");
    }
}
