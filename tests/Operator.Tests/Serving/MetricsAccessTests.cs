using System.Net;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Serving;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Serving;

/// <summary>Who reads the metrics is decided by the API server, for a short time.</summary>
public sealed class MetricsAccessTests : IAsyncLifetime
{
    private readonly FakeTimeProvider _time = new();
    private FakeApi _api = null!;
    private Kubernetes _client = null!;
    private MetricsAccess _access = null!;
    private string[] _allowed = ["prometheus"];

    public async ValueTask InitializeAsync()
    {
        _api = await FakeApi.StartAsync();
        _api.Intercept = ReviewAsync;
        _client = _api.Client();
        _access = new MetricsAccess(new ApiConnection(_client, TimeProvider.System), _time, NullLogger.Instance);
    }

    public async ValueTask DisposeAsync()
    {
        _access.Dispose();
        _client.Dispose();
        await _api.DisposeAsync();
    }

    [Theory]
    [InlineData(null, 401)]
    [InlineData("Basic abc", 401)]
    [InlineData("Bearer ", 401)]
    [InlineData("Bearer stranger", 401)]
    [InlineData("Bearer token-of-somebody", 403)]
    [InlineData("Bearer token-of-prometheus", 200)]
    [InlineData("bearer token-of-prometheus", 200)]
    public async Task Reader_IsReviewed(string? authorization, int code) => Assert.Equal(code, (await AskAsync(authorization)).Code);

    [Fact]
    public async Task Refusal_NamesTheAccount() =>
        Assert.Contains("somebody may not get /metrics; bind the ClusterRole", (await AskAsync("Bearer token-of-somebody")).Text);

    [Fact]
    public async Task Answer_IsKeptForAMinute()
    {
        await AskAsync("Bearer token-of-prometheus");
        int requests = _reviews;
        _allowed = [];

        Assert.Equal(200, (await AskAsync("Bearer token-of-prometheus")).Code);
        Assert.Equal(requests, _reviews);
        _time.Advance(TimeSpan.FromSeconds(61));
        Assert.Equal(403, (await AskAsync("Bearer token-of-prometheus")).Code);
    }

    [Fact]
    public async Task Refusal_IsKeptForSecondsOnly()
    {
        _allowed = [];
        Assert.Equal(403, (await AskAsync("Bearer token-of-prometheus")).Code);
        _allowed = ["prometheus"];
        _time.Advance(TimeSpan.FromSeconds(11));

        Assert.Equal(200, (await AskAsync("Bearer token-of-prometheus")).Code);
    }

    [Fact]
    public async Task Server_ThatIsAway_IsNoPermission()
    {
        _api.Down();

        Assert.Equal(503, (await AskAsync("Bearer token-of-prometheus")).Code);

        _api.Up();
        Assert.Equal(200, (await AskAsync("Bearer token-of-prometheus")).Code);
    }

    [Fact]
    public async Task MadeUpTokens_DoNotUseUpTheServer()
    {
        int[] codes = await Task.WhenAll(Enumerable.Range(0, 200).Select(async i => (await AskAsync($"Bearer made-up-{i}")).Code));

        Assert.Contains(429, codes);
        Assert.InRange(_reviews, 1, 100);
    }

    private int _reviews;

    private Task<AccessAnswer> AskAsync(string? authorization) => _access.AskAsync(authorization, TestContext.Current.CancellationToken);

    private async Task<bool> ReviewAsync(HttpContext context)
    {
        Interlocked.Increment(ref _reviews);
        JsonNode spec = JsonNode.Parse(await new StreamReader(context.Request.Body).ReadToEndAsync())!["spec"]!;
        string answer;
        if (context.Request.Path == "/apis/authentication.k8s.io/v1/tokenreviews")
        {
            string? user = ((string)spec["token"]!).StartsWith("token-of-", StringComparison.Ordinal) ? ((string)spec["token"]!)[9..] : null;
            answer = user is null ? """{"status":{"user":{},"error":"invalid bearer token"}}"""
                : $$$"""{"status":{"authenticated":true,"user":{"username":"{{{user}}}","groups":["system:authenticated"]} } }""";
        }
        else
        {
            Assert.Equal("/apis/authorization.k8s.io/v1/subjectaccessreviews", context.Request.Path);
            Assert.Equal(("/metrics", "get"), ((string?)spec["nonResourceAttributes"]!["path"], (string?)spec["nonResourceAttributes"]!["verb"]));
            Assert.Equal("system:authenticated", (string?)spec["groups"]![0]);
            answer = _allowed.Contains((string)spec["user"]!) ? """{"status":{"allowed":true}}""" : """{"status":{"allowed":false}}""";
        }

        context.Response.StatusCode = (int)HttpStatusCode.Created;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(answer);
        return true;
    }
}
