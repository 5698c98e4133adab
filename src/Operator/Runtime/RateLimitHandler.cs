using System.Net;
using System.Net.Http.Headers;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Keeps requests to the API server below a rate, and comes back later when the server asks for it.</summary>
/// <remarks>The Kubernetes client for .NET does neither. Defaults of 50 and 100 are those of large Go operators.</remarks>
internal sealed class RateLimitHandler : DelegatingHandler
{
    private const int MostTries = 4;
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(20);

    private readonly double _perSecond;
    private readonly int _burst;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private double _tokens;
    private long _filled;

    /// <summary>Creates the handler.</summary>
    /// <param name="perSecond">Requests per second in the long run.</param>
    /// <param name="burst">Requests that may be sent at once.</param>
    /// <param name="time">Clock.</param>
    public RateLimitHandler(double perSecond, int burst, TimeProvider time)
    {
        (_perSecond, _burst, _time, _tokens) = (perSecond, burst, time, burst);
        _filled = time.GetTimestamp();
    }

    /// <inheritdoc/>
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        for (int attempt = 1; ; attempt++)
        {
            await Task.Delay(Take(), _time, cancellationToken);
            HttpResponseMessage response = await base.SendAsync(request, cancellationToken);
            if (attempt == MostTries || Wait(request, response) is not { } wait)
            {
                return response;
            }

            response.Dispose();
            await Task.Delay(wait, _time, cancellationToken);
        }
    }

    // Time until a token is there. Tokens may go below zero: that is the line of those who wait.
    private TimeSpan Take()
    {
        lock (_lock)
        {
            _tokens = Math.Min(_burst, _tokens + _time.GetElapsedTime(_filled).TotalSeconds * _perSecond);
            _filled = _time.GetTimestamp();
            _tokens -= 1;
            return _tokens >= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / _perSecond);
        }
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
}
