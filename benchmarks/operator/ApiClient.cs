using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>Requests to the API server of the benchmark, as its administrator.</summary>
internal sealed class ApiClient : IDisposable
{
    private readonly HttpClient _http;

    /// <param name="server">Address of the server.</param>
    /// <param name="token">The administrator's token.</param>
    /// <param name="fingerprint">That of the certificate which the server has to show; it is signed by nobody else.</param>
    public ApiClient(string server, string token, string fingerprint)
    {
        var handler = new SocketsHttpHandler { UseProxy = false, EnableMultipleHttp2Connections = true };
        handler.SslOptions.RemoteCertificateValidationCallback = (_, shown, _, _) => shown?.GetCertHashString() == fingerprint;
        _http = new HttpClient(handler)
        {
            BaseAddress = new Uri(server),
            DefaultRequestVersion = HttpVersion.Version20,
            Timeout = Timeout.InfiniteTimeSpan,
        };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
    }

    /// <summary>Whether a path answers with success.</summary>
    public async Task<bool> IsThereAsync(string path)
    {
        try
        {
            using HttpResponseMessage response = await _http.GetAsync(path);
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    public async Task<JsonElement> GetAsync(string path) =>
        await JsonElementOf(await _http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead), path);

    public async Task PostAsync(string path, string body, string type = "application/json") =>
        await SendAsync(HttpMethod.Post, path, body, type);

    public async Task PatchAsync(string path, string body) =>
        await SendAsync(HttpMethod.Patch, path, body, "application/merge-patch+json");

    public async Task DeleteAsync(string path, string options) => await SendAsync(HttpMethod.Delete, path, options, "application/json");

    /// <summary>Calls back with each event of a collection until cancelled, from a list on.</summary>
    public async Task WatchAsync(string path, Action<JsonElement> seen, CancellationToken stop)
    {
        JsonElement list = await GetAsync($"{path}?limit=1");
        string version = list.GetProperty("metadata").GetProperty("resourceVersion").GetString()!;
        while (!stop.IsCancellationRequested)
        {
            using HttpResponseMessage response = await _http.GetAsync(
                $"{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}", HttpCompletionOption.ResponseHeadersRead, stop);
            response.EnsureSuccessStatusCode();
            using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(stop));
            while (await lines.ReadLineAsync(stop) is { } line)
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement item = document.RootElement.GetProperty("object");
                if (document.RootElement.GetProperty("type").GetString() == "ERROR")
                {
                    throw new InvalidOperationException($"watch {path}: {item}");
                }

                version = item.GetProperty("metadata").GetProperty("resourceVersion").GetString()!;
                seen(document.RootElement);
            }
        }
    }

    public void Dispose() => _http.Dispose();

    private async Task SendAsync(HttpMethod method, string path, string body, string type)
    {
        using var request = new HttpRequestMessage(method, path)
        {
            Content = new StringContent(body, Encoding.UTF8, MediaTypeHeaderValue.Parse(type)),
            Version = HttpVersion.Version20,
        };
        using HttpResponseMessage response = await _http.SendAsync(request);
        if (!response.IsSuccessStatusCode)
        {
            string answer = await response.Content.ReadAsStringAsync();
            throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture,
                $"{method} {path}: {(int)response.StatusCode} {answer}"));
        }
    }

    private static async Task<JsonElement> JsonElementOf(HttpResponseMessage response, string path)
    {
        using (response)
        {
            string text = await response.Content.ReadAsStringAsync();
            if (!response.IsSuccessStatusCode)
            {
                throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"GET {path}: {(int)response.StatusCode} {text}"));
            }

            using JsonDocument document = JsonDocument.Parse(text);
            return document.RootElement.Clone();
        }
    }
}
