using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>How one of several replicas is chosen; the defaults are those of Kubernetes' own controllers.</summary>
internal sealed record LeaderOptions
{
    /// <summary>Name of the Lease.</summary>
    public required string Name { get; init; }

    /// <summary>Its namespace.</summary>
    public required string Namespace { get; init; }

    /// <summary>Who this process is; different for every process ever started.</summary>
    public required string Identity { get; init; }

    /// <summary>How long others wait for a leader that is silent.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long a leader that cannot renew goes on; less than <see cref="Duration"/>.</summary>
    public TimeSpan RenewDeadline { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Time between two tries.</summary>
    public TimeSpan RetryPeriod { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Adds a problem when the times could make two leaders, or none for long.</summary>
    public void Check(Config.ConfigErrors errors)
    {
        if (Duration < TimeSpan.FromSeconds(1) || Duration.Ticks % TimeSpan.TicksPerSecond != 0)
        {
            errors.Add("--lease-duration", $"{Duration.TotalSeconds:0.###} s are not whole seconds", "use 1s or more; 15s is usual");
        }

        if (RenewDeadline >= Duration)
        {
            errors.Add("--renew-deadline", $"{RenewDeadline.TotalSeconds:0.###} s are not less than the lease's {Duration.TotalSeconds:0.###} s",
                "a leader must stop before another one may begin; 10s with a lease of 15s is usual");
        }

        if (RetryPeriod <= TimeSpan.Zero || RetryPeriod * 1.2 >= RenewDeadline)
        {
            errors.Add("--retry-period", $"{RetryPeriod.TotalSeconds:0.###} s leave no time to renew before {RenewDeadline.TotalSeconds:0.###} s",
                "use a fifth of --renew-deadline or so; 2s is usual");
        }
    }
}

/// <summary>Chooses one leader among replicas by a Lease, never two, and gives the Lease back at the end.</summary>
/// <remarks>
/// A lease counts as silent when it did not change for its whole duration on this process' own monotonic clock; the clocks of
/// other machines do not matter. A leader stops some seconds before others could take over, counted from before the request
/// that last renewed its lease, and <see cref="IsLeader"/> turns false by itself, also in a process that was paused meanwhile.
/// </remarks>
/// <param name="api">The API server.</param>
/// <param name="options">Which lease, and the times.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class LeaderElector(ApiConnection api, LeaderOptions options, TimeProvider time, ILogger log)
{
    private readonly string _collection = $"/apis/coordination.k8s.io/v1/namespaces/{options.Namespace}/leases";
    private string? _seenVersion;
    private long _seenAt;
    private long _renewedAt;
    private volatile bool _holds;

    /// <summary>Whether this process may act. False as soon as it could not renew in time.</summary>
    public bool IsLeader => _holds && time.GetElapsedTime(Interlocked.Read(ref _renewedAt)) < options.RenewDeadline;

    /// <summary>Waits for the lead, works, and gives the lead back.</summary>
    /// <param name="lead">The work; gets a token that asks it to end in good order, and one that ends it at once.</param>
    /// <param name="stop">Ends it in good order.</param>
    /// <exception cref="LeadershipLostException">The lease could not be renewed in time.</exception>
    public async Task RunAsync(Func<CancellationToken, CancellationToken, Task> lead, CancellationToken stop)
    {
        while (!await TryAsync(stop))
        {
            // Some of it at random, so that replicas do not try at the same moment for ever.
            TimeSpan wait = options.RetryPeriod * (1 + 0.2 * Random.Shared.NextDouble());
            await Task.Delay(wait, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (stop.IsCancellationRequested)
            {
                return;
            }
        }

        Log.BecameLeader(log, options.Identity, options.Name);
        using var lost = new CancellationTokenSource();
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, lost.Token);
        using var ended = new CancellationTokenSource();
        Task work = lead(both.Token, lost.Token);
        Task renew = RenewAsync(lost, ended.Token);
        await Task.WhenAny(work, renew);
        try
        {
            await work;
        }
        finally
        {
            await ended.CancelAsync();
            await renew;
            if (!lost.IsCancellationRequested)
            {
                await ReleaseAsync();
            }

            _holds = false;
        }

        if (lost.IsCancellationRequested)
        {
            throw new LeadershipLostException($"lease {options.Namespace}/{options.Name} was not renewed for "
                + $"{options.RenewDeadline.TotalSeconds:0} s; ending, so that another replica can take over");
        }
    }

    private async Task RenewAsync(CancellationTokenSource lost, CancellationToken ended)
    {
        while (!ended.IsCancellationRequested)
        {
            await Task.Delay(options.RetryPeriod, time, ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (ended.IsCancellationRequested)
            {
                return;
            }

            // A request that hangs must not outlive the deadline.
            TimeSpan left = options.RenewDeadline - time.GetElapsedTime(Interlocked.Read(ref _renewedAt));
            if (left > TimeSpan.Zero)
            {
                using var limit = new CancellationTokenSource(left, time);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, ended);
                await TryAsync(either.Token);
            }

            if (!IsLeader && !ended.IsCancellationRequested)
            {
                _holds = false;
                await lost.CancelAsync();
                return;
            }
        }
    }

    // Takes or renews the lease; false when somebody else holds it or the server did not answer.
    private async Task<bool> TryAsync(CancellationToken cancel)
    {
        long begin = time.GetTimestamp();
        try
        {
            JsonObject? lease = await ReadAsync(cancel);
            if (lease is null)
            {
                await api.PostAsync(_collection, Lease(null, 0), cancel);
            }
            else if (lease["spec"] is var spec && MayTake(lease))
            {
                bool isOurs = (string?)spec?["holderIdentity"] == options.Identity;
                int transitions = ((int?)spec?["leaseTransitions"] ?? 0) + (isOurs ? 0 : 1);
                JsonObject taken = Lease(lease, transitions);
                if (isOurs)
                {
                    taken["spec"]!["acquireTime"] = spec!["acquireTime"]?.DeepClone();
                }

                await api.PutAsync($"{_collection}/{options.Name}", taken, cancel);
            }
            else
            {
                // Somebody else has it: what we may have thought is over.
                _holds = false;
                return false;
            }

            // Counted from before the request: others count from when the server had it.
            Interlocked.Exchange(ref _renewedAt, begin);
            _holds = true;
            return true;
        }
        catch (Exception e) when (e is ApiException or HttpRequestException or IOException or TimeoutException or JsonException
            or OperationCanceledException)
        {
            if (e is not OperationCanceledException)
            {
                Log.LeaseFailed(log, options.Name, e.Message);
            }

            return false;
        }
    }

    private async Task<JsonObject?> ReadAsync(CancellationToken cancel)
    {
        try
        {
            return JsonNode.Parse((await api.GetAsync($"{_collection}/{options.Name}", cancel)).GetRawText())!.AsObject();
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            return null;
        }
    }

    private bool MayTake(JsonObject lease)
    {
        string? version = (string?)lease["metadata"]?["resourceVersion"];
        if (version != _seenVersion)
        {
            (_seenVersion, _seenAt) = (version, time.GetTimestamp());
        }

        string? holder = (string?)lease["spec"]?["holderIdentity"];
        TimeSpan duration = TimeSpan.FromSeconds((int?)lease["spec"]?["leaseDurationSeconds"] ?? options.Duration.TotalSeconds);
        return string.IsNullOrEmpty(holder) || holder == options.Identity || time.GetElapsedTime(_seenAt) >= duration;
    }

    private JsonObject Lease(JsonObject? before, int transitions, string? holder = null)
    {
        // MicroTime wants exactly six digits.
        string now = time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);
        var metadata = new JsonObject { ["name"] = options.Name, ["namespace"] = options.Namespace };
        if (before?["metadata"]?["resourceVersion"] is { } version)
        {
            metadata["resourceVersion"] = version.DeepClone();
        }

        return new JsonObject
        {
            ["apiVersion"] = "coordination.k8s.io/v1",
            ["kind"] = "Lease",
            ["metadata"] = metadata,
            ["spec"] = new JsonObject
            {
                ["holderIdentity"] = holder ?? options.Identity,
                ["leaseDurationSeconds"] = (int)options.Duration.TotalSeconds,
                ["acquireTime"] = now,
                ["renewTime"] = now,
                ["leaseTransitions"] = transitions,
            },
        };
    }

    // So that the next one need not wait for the lease to run out.
    private async Task ReleaseAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5), time);
        try
        {
            if (await ReadAsync(limit.Token) is { } lease && (string?)lease["spec"]?["holderIdentity"] == options.Identity)
            {
                JsonObject released = Lease(lease, (int?)lease["spec"]?["leaseTransitions"] ?? 0, holder: "");
                await api.PutAsync($"{_collection}/{options.Name}", released, limit.Token);
                Log.GaveUpLead(log, options.Name);
            }
        }
        catch (Exception e) when (e is ApiException or HttpRequestException or IOException or TimeoutException or JsonException
            or OperationCanceledException)
        {
            Log.LeaseFailed(log, options.Name, e.Message);
        }
    }
}
