using System.Net.Http.Headers;
using System.Text.Json;
using k8s;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Requests to the API server, with one decode and one kind of error.</summary>
/// <remarks>
/// Uses the client's connection, certificates and credentials, but not its generated methods: those decode every watch
/// line twice, peek at streams and report errors in several ways.
/// </remarks>
/// <param name="client">The server, or a client of it; stays open.</param>
/// <param name="time">Clock of the time limit.</param>
/// <param name="mayWrite">Whether this process may change anything now: false for one that does not lead any more.</param>
internal sealed class ApiConnection(ApiEndpoint client, TimeProvider time, Func<bool>? mayWrite = null)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <summary>Reads an object or a list.</summary>
    public Task<JsonElement> GetAsync(string path, CancellationToken cancel) => GetAsync(path, Copy, cancel);

    /// <summary>Reads something of an object or a list, without a copy of all of it.</summary>
    /// <typeparam name="T">What is read.</typeparam>
    /// <param name="path">Path of the object or list.</param>
    /// <param name="read">Reads the answer, which is gone afterwards.</param>
    /// <param name="cancel">Ends the request.</param>
    public Task<T> GetAsync<T>(string path, Func<JsonElement, T> read, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, path, null, "", read, cancel);

    /// <summary>Creates an object.</summary>
    /// <param name="path">Path of the collection.</param>
    /// <param name="body">The object, with apiVersion and kind.</param>
    /// <param name="cancel">Ends the request.</param>
    public Task<JsonElement> PostAsync(string path, object body, CancellationToken cancel) => PostAsync(path, body, Copy, cancel);

    /// <summary>Creates an object, and reads something of what became of it.</summary>
    /// <typeparam name="T">What is read.</typeparam>
    /// <param name="path">Path of the collection.</param>
    /// <param name="body">The object, with apiVersion and kind.</param>
    /// <param name="read">Reads the answer, which is gone afterwards.</param>
    /// <param name="cancel">Ends the request.</param>
    public Task<T> PostAsync<T>(string path, object body, Func<JsonElement, T> read, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, path, KubernetesJson.Serialize(body), "application/json", read, cancel);

    /// <summary>Replaces an object, if it still has the version that the body names.</summary>
    public Task<JsonElement> PutAsync(string path, object body, CancellationToken cancel) =>
        SendAsync(HttpMethod.Put, path, KubernetesJson.Serialize(body), "application/json", cancel);

    /// <summary>Brings an object to a state by server-side apply: creates it, or changes the fields that the body names.</summary>
    /// <param name="path">Path of the object.</param>
    /// <param name="body">What this operator wants of it, with apiVersion, kind and name.</param>
    /// <param name="manager">Owner of these fields from now on.</param>
    /// <param name="cancel">Ends the request.</param>
    public Task<JsonElement> ApplyAsync(string path, object body, string manager, CancellationToken cancel) =>
        ApplyAsync(path, manager, KubernetesJson.Serialize(body), cancel);

    /// <summary>Applies a JSON merge patch.</summary>
    public Task<JsonElement> MergePatchAsync(string path, string patch, CancellationToken cancel) =>
        SendAsync(HttpMethod.Patch, path, patch, "application/merge-patch+json", cancel);

    /// <summary>Creates an object or changes it to what is stated (server-side apply), taking over fields of others.</summary>
    /// <param name="path">Path of the object, whether it exists or not.</param>
    /// <param name="fieldManager">Who states it.</param>
    /// <param name="body">The object as JSON text, with apiVersion, kind and name.</param>
    /// <param name="cancel">Ends the request.</param>
    public Task<JsonElement> ApplyAsync(string path, string fieldManager, string body, CancellationToken cancel) => SendAsync(
        HttpMethod.Patch, $"{path}?fieldManager={fieldManager}&force=true", body, "application/apply-patch+yaml", cancel);

    /// <summary>Deletes one object, by UID, so that a new one of the same name is safe.</summary>
    /// <param name="path">Path of the object.</param>
    /// <param name="uid">Its identity; null for one whose name is never used again.</param>
    /// <param name="gracePeriodSeconds">Time that it gets to end; null for its own.</param>
    /// <param name="cancel">Ends the request.</param>
    /// <param name="propagation">What becomes of the objects that it owns.</param>
    /// <param name="version">The version on which this was decided, when a later one might decide otherwise.</param>
    /// <returns>Whether there was such an object.</returns>
    public async Task<bool> DeleteAsync(string path, string? uid, int? gracePeriodSeconds, CancellationToken cancel,
        string propagation = "Background", string? version = null)
    {
        var options = new Dictionary<string, object>
        {
            ["apiVersion"] = "v1",
            ["kind"] = "DeleteOptions",
            ["propagationPolicy"] = propagation,
        };
        if (uid is not null)
        {
            options["preconditions"] = version is null ? (object)new { uid } : new { uid, resourceVersion = version };
        }

        if (gracePeriodSeconds is { } seconds)
        {
            options["gracePeriodSeconds"] = seconds;
        }

        try
        {
            await SendAsync(HttpMethod.Delete, path, JsonSerializer.Serialize(options), "application/json", cancel);
            return true;
        }
        catch (ApiException e) when (e.Code == System.Net.HttpStatusCode.NotFound || e.IsConflict)
        {
            return false;
        }
    }

    /// <summary>Deletes objects that have labels, one by one.</summary>
    /// <param name="collection">Path of the collection.</param>
    /// <param name="labels">The labels, as a selector.</param>
    /// <param name="goes">Says of an object's metadata whether it is to go.</param>
    /// <param name="cancel">Ends the requests.</param>
    public async Task DeleteAllAsync(string collection, string labels, Func<JsonElement, bool> goes, CancellationToken cancel)
    {
        JsonElement list = await GetAsync($"{collection}?labelSelector={Uri.EscapeDataString(labels)}", cancel);
        foreach (JsonElement metadata in list.GetProperty("items").EnumerateArray().Select(item => item.GetProperty("metadata")).Where(goes))
        {
            await DeleteAsync($"{collection}/{metadata.GetProperty("name").GetString()}", metadata.GetProperty("uid").GetString(), null, cancel);
        }
    }

    /// <summary>Opens a watch. The caller disposes the answer.</summary>
    public async Task<HttpResponseMessage> OpenAsync(string path, CancellationToken cancel)
    {
        using HttpRequestMessage request = await RequestAsync(HttpMethod.Get, path, cancel);
        HttpResponseMessage response = await client.HttpClient.SendAsync(
            request, HttpCompletionOption.ResponseHeadersRead, cancel);
        try
        {
            await ThrowOnErrorAsync(response, $"watch {path}", cancel);
            return response;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    private Task<JsonElement> SendAsync(HttpMethod method, string path, string? body, string contentType, CancellationToken cancel) =>
        SendAsync(method, path, body, contentType, Copy, cancel);

    private static JsonElement Copy(JsonElement answer) => answer.Clone();

    private async Task<T> SendAsync<T>(
        HttpMethod method, string path, string? body, string contentType, Func<JsonElement, T> read, CancellationToken cancel)
    {
        using GuardedContent? content = body is null ? null : new GuardedContent(body, contentType, $"{method} {path}", mayWrite);
        content?.Check();
        using var limit = new CancellationTokenSource(Limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, limit.Token);
        try
        {
            using HttpRequestMessage request = await RequestAsync(method, path, either.Token);
            request.Content = content;
            using HttpResponseMessage response = await client.HttpClient.SendAsync(
                request, HttpCompletionOption.ResponseHeadersRead, either.Token);
            await ThrowOnErrorAsync(response, $"{method} {path}", either.Token);
            await using Stream stream = await response.Content.ReadAsStreamAsync(either.Token);
            using JsonDocument document = await JsonDocument.ParseAsync(stream, default, either.Token);
            return read(document.RootElement);
        }
        catch (HttpRequestException) when (mayWrite?.Invoke() == false)
        {
            content?.Check(); // why nothing was sent matters more than how that looked to the connection
            throw;
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested && !cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"{method} {path}: no answer from the API server for {Limit.TotalSeconds:0} s");
        }
    }

    private async Task<HttpRequestMessage> RequestAsync(HttpMethod method, string path, CancellationToken cancel)
    {
        // The version is the client's default: HTTP/2 where the server offers it.
        var request = new HttpRequestMessage(method, new Uri(client.BaseUri, path.TrimStart('/')))
        {
            Version = client.HttpClient.DefaultRequestVersion,
            VersionPolicy = client.HttpClient.DefaultVersionPolicy,
        };
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
        if (client.Credentials is { } credentials)
        {
            await credentials.ProcessHttpRequestAsync(request, cancel);
        }

        return request;
    }

    private static async Task ThrowOnErrorAsync(HttpResponseMessage response, string request, CancellationToken cancel)
    {
        if (!response.IsSuccessStatusCode)
        {
            string body = await response.Content.ReadAsStringAsync(cancel);
            throw ApiException.From(response.StatusCode, body, request);
        }
    }
}
