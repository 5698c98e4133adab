using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Threading.RateLimiting;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Runtime;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Serving;

/// <summary>Who may read the metrics: whoever the API server says may <c>get</c> the path /metrics.</summary>
/// <remarks>
/// The caller's token is reviewed (TokenReview), then its owner's rights (SubjectAccessReview), as kube-rbac-proxy and
/// controller-runtime do. Answers are kept for a short time, so that a scrape costs no request, and reviews have a rate of
/// their own, so that a stranger with made-up tokens does not use up what the operator needs for jobs.
/// </remarks>
internal sealed class MetricsAccess : IDisposable
{
    private const int MostKept = 1000;
    private const int MostPerSecond = 5;
    private const int MostAtOnce = 20;
    private const string Prefix = "Bearer ";
    private static readonly TimeSpan AllowedFor = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan RefusedFor = TimeSpan.FromSeconds(10);

    private readonly ApiConnection _api;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly ConcurrentDictionary<string, Kept> _answers = new();
    private readonly TokenBucketRateLimiter _reviews = new(new TokenBucketRateLimiterOptions
    {
        TokenLimit = MostAtOnce,
        TokensPerPeriod = MostPerSecond,
        ReplenishmentPeriod = TimeSpan.FromSeconds(1),
        QueueLimit = 0,
    });

    /// <summary>Creates it.</summary>
    /// <param name="api">The API server; not one that only a leader may write to.</param>
    /// <param name="time">Clock.</param>
    /// <param name="log">Log.</param>
    public MetricsAccess(ApiConnection api, TimeProvider time, ILogger log) => (_api, _time, _log) = (api, time, log);

    /// <summary>Decides about a request.</summary>
    /// <param name="authorization">Its Authorization header; null for none.</param>
    /// <param name="cancel">Ends the reviews.</param>
    public async Task<AccessAnswer> AskAsync(string? authorization, CancellationToken cancel)
    {
        if (authorization is null || !authorization.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase)
            || authorization[Prefix.Length..].Trim() is not { Length: > 0 } token)
        {
            return AccessAnswer.NoToken;
        }

        // Tokens themselves are not kept.
        string key = Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(token)));
        if (_answers.TryGetValue(key, out Kept? kept) && _time.GetElapsedTime(kept.At) < (kept.Answer.Code == 200 ? AllowedFor : RefusedFor))
        {
            return kept.Answer;
        }

        using RateLimitLease lease = _reviews.AttemptAcquire();
        if (!lease.IsAcquired)
        {
            return AccessAnswer.TooMany;
        }

        try
        {
            AccessAnswer answer = await ReviewAsync(token, cancel);
            if (_answers.Count >= MostKept)
            {
                _answers.Clear();
            }

            _answers[key] = new Kept(answer, _time.GetTimestamp());
            return answer;
        }
        catch (Exception e) when (e is ApiException or HttpRequestException or IOException or TimeoutException or JsonException)
        {
            Log.ReviewFailed(_log, e.Message);
            return AccessAnswer.Unknown;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _reviews.Dispose();

    private async Task<AccessAnswer> ReviewAsync(string token, CancellationToken cancel)
    {
        JsonElement review = await _api.PostAsync("/apis/authentication.k8s.io/v1/tokenreviews", new V1TokenReview
        {
            ApiVersion = "authentication.k8s.io/v1",
            Kind = "TokenReview",
            Spec = new V1TokenReviewSpec { Token = token },
        }, cancel);
        JsonElement status = review.Get("status");
        if (!IsTrue(status.Get("authenticated")) || status.Get("user").Text("username") is not { Length: > 0 } name)
        {
            return AccessAnswer.BadToken;
        }

        JsonElement access = await _api.PostAsync("/apis/authorization.k8s.io/v1/subjectaccessreviews", new V1SubjectAccessReview
        {
            ApiVersion = "authorization.k8s.io/v1",
            Kind = "SubjectAccessReview",
            Spec = new V1SubjectAccessReviewSpec
            {
                User = name,
                Uid = status.Get("user").Text("uid"),
                Groups = Texts(status.Get("user").Get("groups")),
                NonResourceAttributes = new V1NonResourceAttributes { Path = "/metrics", Verb = "get" },
            },
        }, cancel);
        return IsTrue(access.Get("status").Get("allowed")) ? AccessAnswer.Allowed : AccessAnswer.Refused(name);
    }

    private static bool IsTrue(JsonElement element) => element.ValueKind == JsonValueKind.True;

    private static string[] Texts(JsonElement list) => list.ValueKind == JsonValueKind.Array
        ? [.. list.EnumerateArray().Select(e => e.GetString()).OfType<string>()] : [];

    private sealed record Kept(AccessAnswer Answer, long At);
}

/// <summary>Whether a request is answered.</summary>
/// <param name="Code">HTTP status code; 200 when it is.</param>
/// <param name="Text">What is said instead.</param>
internal sealed record AccessAnswer(int Code, string Text)
{
    public static readonly AccessAnswer Allowed = new(200, "");
    public static readonly AccessAnswer NoToken = new(401, "send a token of the cluster as `Authorization: Bearer`\n");
    public static readonly AccessAnswer BadToken = new(401, "the API server does not know this token\n");
    public static readonly AccessAnswer TooMany = new(429, "too many new tokens; come back in some seconds\n");
    public static readonly AccessAnswer Unknown = new(503, "the API server could not be asked about this token; the operator's log says why\n");

    /// <summary>The answer to somebody who is known, but may not read.</summary>
    public static AccessAnswer Refused(string user) => new(403, $"{user} may not get /metrics; bind the ClusterRole of metrics readers to it\n");
}
