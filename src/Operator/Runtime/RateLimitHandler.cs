using System.Net;
using System.Net.Http.Headers;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Keeps requests to the API server below a rate, and comes back later when the server asks for it.</summary>
/// <remarks>
/// The Kubernetes client for .NET does neither. Defaults of 50 and 100 are those of large Go operators. Events have a quarter
/// of the rate for themselves: behind a thousand pods they would come too late, or be dropped. The lease is renewed without
/// a wait, because a leader that waits for its turn would lose it; reviews of who reads the metrics have a rate of their own.
/// </remarks>
internal sealed class RateLimitHandler : DelegatingHandler
{
    private const int MostTries = 4;
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(20);

    private const int EventsPart = 4;

    private readonly TimeProvider _time;
    private readonly Bucket _objects;
    private readonly Bucket _events;

    /// <summary>Creates the handler.</summary>
    /// <param name="perSecond">Requests per second in the long run.</param>
    /// <param name="burst">Requests that may be sent at once.</param>
    /// <param name="time">Clock.</param>
    public RateLimitHandler(double perSecond, int burst, TimeProvider time)
    {
        _time = time;
        _objects = new Bucket(perSecond, burst, time);
        _events = new Bucket(perSecond / EventsPart, Math.Max(1, burst / EventsPart), time);
    }

    /// <inheritdoc/>
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        for (int attempt = 1; ; attempt++)
        {
            await Task.Delay(Turn(request), _time, cancellationToken);
            HttpResponseMessage response = await base.SendAsync(request, cancellationToken);
            if (attempt == MostTries || Wait(request, response) is not { } wait)
            {
                return response;
            }

            response.Dispose();
            await Task.Delay(wait, _time, cancellationToken);
        }
    }

    private TimeSpan Turn(HttpRequestMessage request)
    {
        string path = request.RequestUri?.AbsolutePath ?? "";
        bool hasOwnRate = path.Contains("/coordination.k8s.io/", StringComparison.Ordinal)
            || path.Contains("/authentication.k8s.io/", StringComparison.Ordinal) || path.Contains("/authorization.k8s.io/", StringComparison.Ordinal);
        return hasOwnRate ? TimeSpan.Zero
            : path.Contains("/events", StringComparison.Ordinal) ? _events.Take() : _objects.Take();
    }

    // 429 says that nothing was done. 503 leaves that open, so only requests that may be repeated are.
    private TimeSpan? Wait(HttpRequestMessage request, HttpResponseMessage response)
    {
        bool repeat = response.StatusCode == HttpStatusCode.TooManyRequests
            || (response.StatusCode == HttpStatusCode.ServiceUnavailable && request.Method != HttpMethod.Post);
        if (!repeat || response.Headers.RetryAfter is not { } after)
        {
            return null;
        }

        TimeSpan wait = Until(after);
        return wait <= LongestWait ? wait : null;
    }

    private TimeSpan Until(RetryConditionHeaderValue after)
    {
        TimeSpan wait = after.Delta ?? (after.Date is { } date ? date - _time.GetUtcNow() : TimeSpan.Zero);
        return wait > TimeSpan.Zero ? wait : TimeSpan.Zero;
    }

    private sealed class Bucket(double perSecond, int burst, TimeProvider time)
    {
        private readonly Lock _lock = new();
        private double _tokens = burst;
        private long _filled = time.GetTimestamp();

        // Time until a token is there. Tokens may go below zero: that is the line of those who wait.
        public TimeSpan Take()
        {
            lock (_lock)
            {
                _tokens = Math.Min(burst, _tokens + time.GetElapsedTime(_filled).TotalSeconds * perSecond);
                _filled = time.GetTimestamp();
                _tokens -= 1;
                return _tokens >= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / perSecond);
            }
        }
    }
}
