using System.Buffers;
using System.Globalization;
using System.Numerics;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>How a <see cref="ListWatcher{T}"/> paces itself; the defaults are those of Kubernetes' own clients.</summary>
internal sealed record ListWatchOptions
{
    /// <summary>Objects per page of a list.</summary>
    public int PageSize { get; init; } = 100;

    /// <summary>Shortest time between two watches.</summary>
    public TimeSpan BetweenWatches { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>A watch without a line for so long is taken for dead; the server sends a bookmark about every minute.</summary>
    public TimeSpan Idle { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Wait after a first failure; each further one doubles it.</summary>
    public TimeSpan FirstRetry { get; init; } = TimeSpan.FromMilliseconds(800);

    /// <summary>Longest wait after a failure.</summary>
    public TimeSpan LongestRetry { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A connection that lasted so long ends a row of failures, as one does that brought anything.</summary>
    public TimeSpan Healthy { get; init; } = TimeSpan.FromMinutes(2);
}

/// <summary>Keeps a cache equal to a collection of the API server: one list, then a watch, again and again.</summary>
/// <remarks>
/// After the end of a stream the watch goes on from the last version, so nothing is missed. Whatever makes that version
/// doubtful (410 Gone, an ERROR event, a line that cannot be read) leads to a new list.
/// </remarks>
/// <typeparam name="T">What is kept of each object.</typeparam>
/// <param name="path">Path of the collection; of all namespaces, or of one.</param>
/// <param name="labelSelector">Which objects; empty for all.</param>
/// <param name="read">Makes a state from an object.</param>
/// <param name="cache">Receives the states.</param>
/// <param name="api">The API server.</param>
/// <param name="options">Pace.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class ListWatcher<T>(
    string path, string labelSelector, Func<JsonElement, T> read, ObjectCache<T> cache, ApiConnection api,
    ListWatchOptions options, TimeProvider time, ILogger log) : IDisposable
    where T : class
{
    private readonly TaskCompletionSource _synced = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly string _scope = ScopeOf(path);
    private readonly CancellationTokenSource _again = new();
    private readonly TaskCompletionSource _listedAgain = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly string _selector = labelSelector.Length == 0 ? "" : $"&labelSelector={Uri.EscapeDataString(labelSelector)}";
    private string? _version;
    private string _lastSeen = "0";
    private bool _hasTaken;

    /// <summary>Completes when the cache holds the first list.</summary>
    public Task Synced => _synced.Task;

    /// <summary>Whether the cache holds everything up to a version.</summary>
    internal bool HasSeen(long version) =>
        long.TryParse(Volatile.Read(ref _lastSeen), NumberStyles.None, CultureInfo.InvariantCulture, out long seen) && seen >= version;

    /// <summary>Lists once more, for one caller in the life of this object. Afterwards the cache holds everything that was
    /// written before this call, also by others: a watch may be behind.</summary>
    /// <param name="stop">Ends the wait.</param>
    public async Task ListAgainAsync(CancellationToken stop)
    {
        await _again.CancelAsync();
        await _listedAgain.Task.WaitAsync(stop);
    }

    /// <summary>Runs until cancelled; survives any outage of the API server.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        (int failures, int relists) = (0, 0);
        while (!stop.IsCancellationRequested)
        {
            long begin = time.GetTimestamp();
            bool isAsked = IsAsked;
            _hasTaken = false;
            try
            {
                if (_version is null || isAsked)
                {
                    _version = await ListAsync(stop);
                    _synced.TrySetResult();
                    failures = 0;
                }

                if (isAsked)
                {
                    _listedAgain.TrySetResult();
                }

                await WatchAsync(stop);
                (failures, relists) = (0, 0);
                await Task.Delay(options.BetweenWatches, time, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (OperationCanceledException) when (IsAsked)
            {
                // Only the watch was ended.
            }
            catch (ApiException e) when (e.IsGone)
            {
                // The server is well again, however long it was away; only lists in quick succession are slowed down.
                Log.ListAgain(log, path, e.Message);
                _version = null;
                relists = HasLasted(begin) ? 0 : relists;
                await Pause(relists++, stop);
            }
            catch (Exception e) when (e is ApiException or HttpRequestException or IOException or TimeoutException or JsonException)
            {
                // Whatever cuts a connection that works, such as a proxy with a time limit, must not make the operator blind for
                // longer each time.
                failures = _hasTaken || HasLasted(begin) ? 0 : failures;

                // The first, second, fourth, eighth and so on of a row: an API may be away for good.
                if (BitOperations.IsPow2(failures + 1))
                {
                    Log.WatchFailed(log, path, e is HttpRequestException { InnerException: { } cause } ? $"{e.Message} ({cause.Message})" : e.Message);
                }

                await Pause(failures++, stop);
            }
        }
    }

    /// <summary>Path of the collection.</summary>
    public string Path => path;

    // Keys begin with the namespace, which the path names or does not.
    private static string ScopeOf(string path)
    {
        string[] parts = path.Split('/');
        int index = Array.IndexOf(parts, "namespaces");
        return index >= 0 && index + 2 < parts.Length ? parts[index + 1] + "/" : "";
    }

    /// <inheritdoc/>
    public void Dispose() => _again.Dispose();

    private bool IsAsked => _again.IsCancellationRequested && !_listedAgain.Task.IsCompleted;

    private bool HasLasted(long begin) => time.GetElapsedTime(begin) >= options.Healthy;

    private async Task<string> ListAsync(CancellationToken stop)
    {
        var objects = new Dictionary<string, Cached<T>>();
        string version, next = "";
        do
        {
            (version, next) = await api.GetAsync($"{path}?limit={options.PageSize}{_selector}{next}", page => Take(page, objects), stop);
        }
        while (next.Length > 0);

        cache.Replace(objects, version, restored: ObjectCache<T>.IsNewer(_lastSeen, version), _scope);
        _lastSeen = version;
        Log.Listed(log, path, objects.Count, version);
        return version;
    }

    private (string Version, string Next) Take(JsonElement page, Dictionary<string, Cached<T>> objects)
    {
        foreach (JsonElement item in page.GetProperty("items").EnumerateArray())
        {
            (string key, string version) = Identify(item);
            objects[key] = new Cached<T>(version, read(item));
        }

        JsonElement metadata = page.GetProperty("metadata");
        return (metadata.GetProperty("resourceVersion").GetString()!,
            metadata.TryGetProperty("continue", out JsonElement more) && more.GetString() is { Length: > 0 } token
                ? $"&continue={Uri.EscapeDataString(token)}" : "");
    }

    // Returns at the orderly end of the stream; throws when the connection fails or the version is no longer good.
    private async Task WatchAsync(CancellationToken stop)
    {
        // Watches of many replicas and kinds should not all end at the same moment.
        int seconds = Random.Shared.Next(300, 600);
        using var idle = new CancellationTokenSource(options.Idle, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(
            stop, idle.Token, _listedAgain.Task.IsCompleted ? CancellationToken.None : _again.Token);
        try
        {
            using HttpResponseMessage response = await api.OpenAsync(
                $"{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={_version}{_selector}",
                either.Token);
            await using Stream stream = await response.Content.ReadAsStreamAsync(either.Token);
            await JsonLines.ReadAsync(stream, line =>
            {
                idle.CancelAfter(options.Idle);
                Take(line);
                _hasTaken = true;
            }, either.Token);
        }
        catch (OperationCanceledException e) when (!stop.IsCancellationRequested && !IsAsked)
        {
            // The connection's own time limit ends a server that never answers at all.
            throw new TimeoutException(idle.IsCancellationRequested ? $"no line for {options.Idle.TotalSeconds:0} s" : e.Message, e);
        }
    }

    private void Take(ReadOnlySequence<byte> line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement item = document.RootElement.GetProperty("object");
            string type = document.RootElement.GetProperty("type").GetString()!;
            if (type == "ERROR")
            {
                throw Expired(item.GetRawText());
            }

            if (type == "BOOKMARK")
            {
                _version = _lastSeen = item.GetProperty("metadata").GetProperty("resourceVersion").GetString()!;
                return;
            }

            (string key, string version) = Identify(item);
            if (type == "DELETED")
            {
                cache.Remove(key, version);
            }
            else
            {
                cache.Put(key, version, read(item));
            }

            _version = _lastSeen = version;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            // An event that was lost would leave the cache wrong for ever.
            throw Expired(e.Message);
        }

        ApiException Expired(string reason) => ApiException.From(System.Net.HttpStatusCode.Gone, reason, $"watch {path}");
    }

    private static (string Key, string Version) Identify(JsonElement item)
    {
        JsonElement metadata = item.GetProperty("metadata");
        string name = metadata.GetProperty("name").GetString()!;
        string ns = metadata.TryGetProperty("namespace", out JsonElement value) ? value.GetString()! : "";
        return ($"{ns}/{name}", metadata.GetProperty("resourceVersion").GetString()!);
    }

    private async Task Pause(int failures, CancellationToken stop)
    {
        TimeSpan wait = options.FirstRetry * Math.Pow(2, Math.Min(failures, 16));
        wait = wait < options.LongestRetry ? wait : options.LongestRetry;

        // Half of it is random, so that many clients do not return to a recovering server together.
        wait = wait * (0.5 + Random.Shared.NextDouble() / 2);
        await Task.Delay(wait, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
