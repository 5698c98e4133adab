using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using k8s;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>A small API server in this process: lists in pages, watches with versions, patches with conflicts, outages.</summary>
internal sealed class FakeApi : IAsyncDisposable
{
    private readonly WebApplication _server;
    private readonly HashSet<string> _deadClients = [];
    private readonly HashSet<HttpContext> _open = [];
    private readonly HashSet<HttpContext> _cut = [];

    private FakeApi(WebApplication server) => _server = server;

    public ObjectStore Store { get; } = new();

    /// <summary>The definition of DeepSpeedJob, where somebody asks for it.</summary>
    public JsonNode? Definition { get; set; }

    /// <summary>Whether every connection is cut.</summary>
    public bool IsDown { get; private set; }

    /// <summary>Every request but watches, as "VERB path".</summary>
    public List<string> Requests { get; } = [];

    /// <summary>Watch requests, with their query.</summary>
    public List<string> Watches { get; } = [];

    /// <summary>Called with the number of each write, from 1, and its path; says when its client dies.</summary>
    public Func<int, string, Crash>? OnWrite { get; set; }

    /// <summary>Says what becomes of the answer to a request that was carried out.</summary>
    public Func<HttpContext, AnswerFate>? Answering { get; set; }

    /// <summary>What watches hear instead of what happened; null for the truth.</summary>
    public WatchDistortion? Distortion { get; set; }

    /// <summary>May answer a request itself.</summary>
    public Func<HttpContext, Task<bool>>? Intercept { get; set; }

    /// <summary>Writes, of events and leases not counted.</summary>
    public int Writes { get; private set; }

    /// <summary>Whether a request is being answered, or a watch is open.</summary>
    public bool IsBusy
    {
        get
        {
            lock (_open)
            {
                return _open.Count > 0;
            }
        }
    }

    public string Address => _server.Services.GetRequiredService<Microsoft.AspNetCore.Hosting.Server.IServer>()
        .Features.Get<IServerAddressesFeature>()!.Addresses.First();

    public static async Task<FakeApi> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        WebApplication server = builder.Build();
        var api = new FakeApi(server);
        server.Run(api.HandleAsync);
        await server.StartAsync();
        return api;
    }

    /// <summary>A client of this server, known by its name.</summary>
    public Kubernetes Client(string name = "test", params DelegatingHandler[] handlers) =>
        new(new KubernetesClientConfiguration { Host = Address, UserAgent = name }, handlers);

    /// <summary>Cuts all connections, and all new ones until <see cref="Up"/>.</summary>
    public void Down()
    {
        IsDown = true;
        CutConnections();
    }

    public void Up() => IsDown = false;

    public void CutConnections()
    {
        lock (_open)
        {
            foreach (HttpContext context in _open.ToArray())
            {
                _cut.Add(context);
                context.Abort();
            }
        }
    }

    public bool IsDead(string client)
    {
        lock (_deadClients)
        {
            return _deadClients.Contains(client);
        }
    }

    public async ValueTask DisposeAsync()
    {
        CutConnections();
        await _server.StopAsync(new CancellationTokenSource(TimeSpan.FromSeconds(1)).Token);
        await _server.DisposeAsync();
    }

    private async Task HandleAsync(HttpContext context)
    {
        string client = context.Request.Headers.UserAgent.ToString();
        if (IsDown || IsDead(client))
        {
            context.Abort();
            return;
        }

        lock (_open)
        {
            _open.Add(context);
        }

        try
        {
            if (Intercept is null || !await Intercept(context))
            {
                await ServeAsync(context, client);
            }
        }
        catch (OperationCanceledException)
        {
            // The client went away, or was cut off.
        }
        finally
        {
            lock (_open)
            {
                _open.Remove(context);
                _cut.Remove(context);
            }
        }
    }

    private async Task ServeAsync(HttpContext context, string client)
    {
        var path = ResourcePath.Parse(context.Request.Path);
        if (context.Request.Query.ContainsKey("watch"))
        {
            lock (Watches)
            {
                Watches.Add(context.Request.QueryString.Value!);
            }

            await WatchAsync(context, path);
            return;
        }

        lock (Requests)
        {
            Requests.Add($"{context.Request.Method} {context.Request.Path}");
        }

        string body = await new StreamReader(context.Request.Body).ReadToEndAsync(context.RequestAborted);
        Crash crash = Crash.None;
        bool isWrite = context.Request.Method != "GET" && path.Plural is not "events" and not "leases";
        if (isWrite)
        {
            int number;
            lock (_deadClients)
            {
                number = ++Writes;
            }

            crash = OnWrite?.Invoke(number, context.Request.Path) ?? Crash.None;
        }

        if (crash == Crash.Before)
        {
            Kill(client, context);
            return;
        }

        if (IsDead(client))
        {
            context.Abort();
            return;
        }

        HttpStatusCode code;
        JsonNode answer;
        lock (_open)
        {
            if (_cut.Contains(context))
            {
                return; // cut off before it was carried out
            }

            (code, answer) = Answer(context, path, body, client);
        }

        switch (Answering?.Invoke(context) ?? AnswerFate.Arrives)
        {
            case AnswerFate.IsLost:
                context.Abort();
                return;
            case AnswerFate.NeverComes:
                await Task.Delay(Timeout.Infinite, context.RequestAborted);
                return;
            default:
                break;
        }

        if (crash == Crash.After)
        {
            Kill(client, context);
            return;
        }

        context.Response.StatusCode = (int)code;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(answer.ToJsonString(), context.RequestAborted);
    }

    private void Kill(string client, HttpContext context)
    {
        Kill(client);
        context.Abort();
    }

    /// <summary>From now on nothing that a client sends arrives.</summary>
    public void Kill(string client)
    {
        lock (_deadClients)
        {
            _deadClients.Add(client);
        }
    }

    private (HttpStatusCode Code, JsonNode Answer) Answer(HttpContext context, ResourcePath path, string body, string client)
    {
        string? Query(string name) => context.Request.Query.TryGetValue(name, out var value) ? value.ToString() : null;
        try
        {
            return context.Request.Method switch
            {
                "GET" when path.Plural == "policy" => (HttpStatusCode.OK, JsonNode.Parse("""{"versions":[{"version":"v1"}]}""")!),
                "GET" when path.Plural == "customresourcedefinitions" => (HttpStatusCode.OK, Definition?.DeepClone() ?? throw new StoreException(HttpStatusCode.NotFound, "NotFound", "no definition")),
                "GET" when path.Plural == "secrets" => throw new StoreException(HttpStatusCode.Forbidden, "Forbidden", "nobody needs to read secrets"),
                "GET" when path.Name is null => (HttpStatusCode.OK, Store.List(
                    path, Query("labelSelector") ?? "", int.Parse(Query("limit") ?? "0", CultureInfo.InvariantCulture), Query("continue"))),
                "GET" => (HttpStatusCode.OK, Store.Get(path)),
                "POST" => (HttpStatusCode.Created, Store.Create(path, JsonNode.Parse(body)!.AsObject(), client)),
                "PUT" => (HttpStatusCode.OK, Store.Put(path, JsonNode.Parse(body)!.AsObject(), client)),
                "PATCH" when context.Request.ContentType == "application/apply-patch+yaml" =>
                    (HttpStatusCode.OK, Store.Apply(path, JsonNode.Parse(body)!.AsObject(), client)),
                "PATCH" => (HttpStatusCode.OK, Store.Patch(path, JsonNode.Parse(body)!.AsObject(), client)),
                "DELETE" => (HttpStatusCode.OK, Store.Delete(path, (string?)JsonNode.Parse(body)?["preconditions"]?["uid"],
                    (int?)JsonNode.Parse(body)?["gracePeriodSeconds"] == 0, client, (string?)JsonNode.Parse(body)?["preconditions"]?["resourceVersion"])),
                _ => throw new StoreException(HttpStatusCode.MethodNotAllowed, "MethodNotAllowed", context.Request.Method),
            };
        }
        catch (StoreException e)
        {
            return (e.Code, e.ToStatus());
        }
    }

    private async Task WatchAsync(HttpContext context, ResourcePath path)
    {
        long version = long.Parse(context.Request.Query["resourceVersion"].ToString(), CultureInfo.InvariantCulture);
        string selector = context.Request.Query["labelSelector"].ToString();
        int epoch = Store.WatchEpoch;
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        context.Response.ContentType = "application/json";
        await context.Response.StartAsync(context.RequestAborted);
        while (!context.RequestAborted.IsCancellationRequested)
        {
            Task changed = Store.NextChange;
            if (Store.Since(path, selector, version) is not var (news, upTo))
            {
                JsonObject expired = new StoreException(HttpStatusCode.Gone, "Expired", "too old resource version").ToStatus();
                await LineAsync(context, new JsonObject { ["type"] = "ERROR", ["object"] = expired });
                return;
            }

            version = upTo;
            if (Distortion is { } distortion)
            {
                if (!await distortion.WriteAsync(context, [.. news], version))
                {
                    return;
                }
            }
            else
            {
                foreach (JsonObject line in news)
                {
                    await LineAsync(context, line);
                }
            }

            await changed.WaitAsync(context.RequestAborted);
            if (Store.WatchEpoch != epoch)
            {
                return;
            }
        }
    }

    /// <summary>Writes one line of a watch.</summary>
    public static async Task LineAsync(HttpContext context, JsonObject line)
    {
        await context.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(line.ToJsonString() + "\n"), context.RequestAborted);
        await context.Response.Body.FlushAsync(context.RequestAborted);
    }
}

/// <summary>What becomes of an answer.</summary>
internal enum AnswerFate
{
    Arrives,
    IsLost,
    NeverComes,
}

/// <summary>When the client of a write dies.</summary>
internal enum Crash
{
    None,
    Before,
    After,
}

/// <summary>The parts of a request path.</summary>
internal sealed record ResourcePath(string Plural, string? Namespace, string? Name, string? Subresource)
{
    public static ResourcePath Parse(string path)
    {
        string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length < 3)
        {
            return new ResourcePath(parts[^1], null, null, null);
        }

        int next = parts[0] == "api" ? 2 : 3;
        string? ns = null;
        if (parts[next] == "namespaces")
        {
            ns = parts[next + 1];
            next += 2;
        }

        return new ResourcePath(parts[next], ns, parts.ElementAtOrDefault(next + 1), parts.ElementAtOrDefault(next + 2));
    }
}
