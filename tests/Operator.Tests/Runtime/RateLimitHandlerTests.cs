using System.Net;
using DeepSpeedSharp.Operator.Runtime;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class RateLimitHandlerTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly Server _server = new();

    [Fact]
    public async Task Requests_BeyondTheBurst_WaitForTheirTurn()
    {
        using HttpMessageInvoker client = Client(perSecond: 10, burst: 3);
        Task<HttpResponseMessage>[] requests = [.. Enumerable.Range(0, 5).Select(_ => Send(client, HttpMethod.Get))];
        await Settled();
        Assert.Equal(3, _server.Requests);

        _time.Advance(TimeSpan.FromMilliseconds(101));
        await Settled();
        Assert.Equal(4, _server.Requests);
        _time.Advance(TimeSpan.FromMilliseconds(101));
        await Task.WhenAll(requests);
    }

    [Fact]
    public async Task LeaseAndEvents_DoNotStandBehindPods()
    {
        using HttpMessageInvoker client = Client(perSecond: 4, burst: 4);
        Task<HttpResponseMessage>[] pods = [.. Enumerable.Range(0, 50).Select(_ => Send(client, HttpMethod.Post, "api/v1/namespaces/a/pods"))];
        await Settled();
        Assert.Equal(4, _server.Requests);

        await Send(client, HttpMethod.Post, "api/v1/namespaces/a/events");
        for (int i = 0; i < 10; i++)
        {
            await Send(client, HttpMethod.Put, "apis/coordination.k8s.io/v1/namespaces/a/leases/operator");
        }

        Assert.Equal(4 + 11, _server.Requests);
        _time.Advance(TimeSpan.FromMinutes(1));
        await Task.WhenAll(pods);
    }

    [Theory]
    [InlineData("GET", HttpStatusCode.TooManyRequests, true)]
    [InlineData("POST", HttpStatusCode.TooManyRequests, true)]
    [InlineData("GET", HttpStatusCode.ServiceUnavailable, true)]
    [InlineData("POST", HttpStatusCode.ServiceUnavailable, false)]
    [InlineData("GET", HttpStatusCode.InternalServerError, false)]
    public async Task Answer_ThatAsksForPatience_IsRepeatedWhenThatIsSafe(string method, HttpStatusCode code, bool repeated)
    {
        _server.Answers.Enqueue(code);
        using HttpMessageInvoker client = Client(1000, 1000);

        Task<HttpResponseMessage> request = Send(client, new HttpMethod(method));
        await Settled();
        _time.Advance(TimeSpan.FromSeconds(2));
        using HttpResponseMessage response = await request;

        Assert.Equal(repeated ? HttpStatusCode.OK : code, response.StatusCode);
        Assert.Equal(repeated ? 2 : 1, _server.Requests);
    }

    public void Dispose() => _server.Dispose();

    private HttpMessageInvoker Client(double perSecond, int burst) =>
        new(new RateLimitHandler(perSecond, burst, _time) { InnerHandler = _server });

    private static Task<HttpResponseMessage> Send(HttpMessageInvoker client, HttpMethod method, string path = "") =>
        client.SendAsync(new HttpRequestMessage(method, $"http://x/{path}"), TestContext.Current.CancellationToken);

    private static Task Settled() => Task.Delay(20, TestContext.Current.CancellationToken);

    private sealed class Server : HttpMessageHandler
    {
        private int _requests;

        public int Requests => _requests;

        public System.Collections.Concurrent.ConcurrentQueue<HttpStatusCode> Answers { get; } = new();

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _requests);
            var response = new HttpResponseMessage(Answers.TryDequeue(out HttpStatusCode code) ? code : HttpStatusCode.OK);
            response.Headers.RetryAfter = new(TimeSpan.FromSeconds(2));
            return Task.FromResult(response);
        }
    }
}
