using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography.X509Certificates;
using System.Threading.Channels;
using DeepSpeedSharp.Operator.Benchmarks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>Stands between one operator and the API server, on loopback, and makes the server worse than it is.</summary>
internal sealed class FaultyProxy : IAsyncDisposable
{
    private readonly WebApplication _door;
    private readonly HttpClient _server;
    private readonly string _client;
    private readonly Faults _faults;
    private readonly WriteLedger _ledger;

    private FaultyProxy(WebApplication door, ControlPlane plane, string client, Faults faults, WriteLedger ledger)
    {
        (_door, _client, _faults, _ledger) = (door, client, faults, ledger);
        var handler = new SocketsHttpHandler { UseProxy = false, MaxConnectionsPerServer = 200, AllowAutoRedirect = false };
        using X509Certificate2 certificate = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(plane.Folder, "server.crt"));
        string expected = certificate.GetCertHashString(); // signed by itself
        handler.SslOptions.RemoteCertificateValidationCallback = (_, shown, _, _) => shown?.GetCertHashString() == expected;
        _server = new HttpClient(handler) { BaseAddress = new Uri(plane.Server), Timeout = Timeout.InfiniteTimeSpan };
    }

    public string Address => _door.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();

    /// <summary>Asked at every write of objects, before it is sent on (false) and when it was carried out (true); true breaks the
    /// connection there.</summary>
    public Func<bool, bool> Breaks { get; set; } = _ => false;

    /// <summary>Opens a proxy.</summary>
    /// <param name="plane">The API server.</param>
    /// <param name="client">Name of the operator that will use it.</param>
    /// <param name="faults">What goes wrong.</param>
    /// <param name="ledger">Told of every write.</param>
    public static async Task<FaultyProxy> StartAsync(ControlPlane plane, string client, Faults faults, WriteLedger ledger)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        WebApplication door = builder.Build();
        var proxy = new FaultyProxy(door, plane, client, faults, ledger);
        door.Run(proxy.ServeAsync);
        await door.StartAsync();
        return proxy;
    }

    public async ValueTask DisposeAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await _door.StopAsync(limit.Token);
        await _door.DisposeAsync();
        _server.Dispose();
    }

    private async Task ServeAsync(HttpContext context)
    {
        string method = context.Request.Method, path = context.Request.Path.Value!;
        _ledger.Arrived(_client, method, path);
        bool isWatch = context.Request.Query.ContainsKey("watch");
        try
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body, context.RequestAborted);
            await ServeAsync(context, body.ToArray(), _faults.Draw(method, path, isWatch));
        }
        catch (HttpRequestException e) when (!context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            // The server was just stopped, or is worse than it should be: then the operator's log has to say so.
            await RefuseAsync(context, 502, "BadGateway", $"the API server does not answer: {e.Message} {e.InnerException?.Message}");
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or HttpRequestException)
        {
            context.Abort(); // the operator was killed or gave up
        }
    }

    private async Task ServeAsync(HttpContext context, byte[] body, Fault fault)
    {
        switch (fault)
        {
            case Fault.Conflict:
                await RefuseAsync(context, 409, "Conflict");
                return;
            case Fault.Gone:
                await RefuseAsync(context, 410, "Expired");
                return;
            case Fault.TooManyRequests:
                context.Response.Headers.RetryAfter = "1";
                await RefuseAsync(context, 429, "TooManyRequests");
                return;
            case Fault.InternalError:
                await RefuseAsync(context, 500, "InternalError");
                return;
            case Fault.Unavailable:
                context.Response.Headers.RetryAfter = "1";
                await RefuseAsync(context, 503, "ServiceUnavailable");
                return;
            case Fault.LostRequest:
                await Task.Delay(Timeout.Infinite, context.RequestAborted);
                return;
            case Fault.BrokenRequest:
                context.Abort();
                return;
            default:
                await ForwardAsync(context, body, fault);
                return;
        }
    }

    private async Task ForwardAsync(HttpContext context, byte[] body, Fault fault)
    {
        // What was sent to the server is carried out, whatever becomes of the operator meanwhile.
        bool isWrite = WriteLedger.IsWrite(context.Request.Method, context.Request.Path.Value!);
        if (isWrite && Breaks(false))
        {
            context.Abort();
            return;
        }

        using HttpRequestMessage request = Copy(context.Request, body);
        using HttpResponseMessage answer = await _server.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        if (answer.IsSuccessStatusCode)
        {
            _ledger.CarriedOut(context.Request.Method, context.Request.Path.Value!, body);
        }

        if (isWrite && Breaks(true))
        {
            context.Abort();
            return;
        }

        if (fault == Fault.LostAnswer)
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        }

        if (fault == Fault.BrokenAnswer)
        {
            context.Abort();
            return;
        }

        context.Response.StatusCode = (int)answer.StatusCode;
        context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
        if (answer.Headers.RetryAfter is { } after)
        {
            context.Response.Headers.RetryAfter = after.ToString();
        }

        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        await using Stream stream = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
        if (fault == Fault.None)
        {
            await CopyAsync(stream, context, Timeout.InfiniteTimeSpan);
        }
        else
        {
            await SpoilAsync(stream, context, fault);
        }
    }

    private async Task SpoilAsync(Stream stream, HttpContext context, Fault fault)
    {
        TimeSpan until = _faults.Time(_faults.LongestWatch);
        switch (fault)
        {
            case Fault.Late:
                await CopyLateAsync(stream, context, TimeSpan.FromSeconds(5));
                return;
            case Fault.HalfOpen:
                await CopyAsync(stream, context, until);
                await Task.Delay(TimeSpan.FromSeconds(40), context.RequestAborted); // no operator waits for three minutes here
                context.Abort();
                return;
            case Fault.Expired:
                await CopyAsync(stream, context, until);
                await context.Response.WriteAsync("""{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"injected"}}""" + "\n", context.RequestAborted);
                return;
            default:
                await CopyAsync(stream, context, until);
                context.Abort();
                return;
        }
    }

    // Copies until the end, or for a while.
    private static async Task CopyAsync(Stream from, HttpContext context, TimeSpan most)
    {
        using var limit = new CancellationTokenSource(most);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, limit.Token);
        var buffer = new byte[16 * 1024];
        await context.Response.Body.FlushAsync(context.RequestAborted);
        try
        {
            int read;
            while ((read = await from.ReadAsync(buffer, either.Token)) > 0)
            {
                await context.Response.Body.WriteAsync(buffer.AsMemory(0, read), context.RequestAborted);
                await context.Response.Body.FlushAsync(context.RequestAborted);
            }
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
        }
    }

    // Copies everything, each piece the same time after it came.
    private static async Task CopyLateAsync(Stream from, HttpContext context, TimeSpan late)
    {
        var pieces = Channel.CreateUnbounded<(byte[] Bytes, long Came)>();
        async Task ReadAsync()
        {
            try
            {
                var buffer = new byte[16 * 1024];
                int read;
                while ((read = await from.ReadAsync(buffer, context.RequestAborted)) > 0)
                {
                    pieces.Writer.TryWrite((buffer[..read], Stopwatch.GetTimestamp()));
                }
            }
            finally
            {
                pieces.Writer.Complete();
            }
        }

        await context.Response.Body.FlushAsync(context.RequestAborted);
        Task reading = ReadAsync();
        await foreach ((byte[] bytes, long came) in pieces.Reader.ReadAllAsync(context.RequestAborted))
        {
            TimeSpan wait = late - Stopwatch.GetElapsedTime(came);
            await Task.Delay(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, context.RequestAborted);
            await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }

        await reading;
    }

    private static async Task RefuseAsync(HttpContext context, int code, string reason, string message = "injected by the test")
    {
        context.Response.StatusCode = code;
        var status = new { kind = "Status", apiVersion = "v1", status = "Failure", message, reason, code };
        await context.Response.WriteAsJsonAsync(status, context.RequestAborted);
    }

    private static HttpRequestMessage Copy(HttpRequest request, byte[] body)
    {
        var copy = new HttpRequestMessage(new HttpMethod(request.Method), request.Path.Value + request.QueryString.Value);
        foreach (string header in new[] { "Authorization", "Accept", "User-Agent" })
        {
            copy.Headers.TryAddWithoutValidation(header, request.Headers[header].ToArray());
        }

        if (body.Length > 0)
        {
            copy.Content = new ByteArrayContent(body);
            copy.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(request.ContentType!);
        }

        return copy;
    }
}
