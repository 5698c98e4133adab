using System.Net;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>An API server that fails: conflicts, versions that are gone, requests for patience, errors, quotas, and answers
/// that come late or never, before or after the request was carried out.</summary>
/// <param name="chance">Says yes with a probability.</param>
/// <param name="next">A number below a limit.</param>
internal sealed class ApiFaults(Func<double, bool> chance, Func<int, int> next)
{
    /// <summary>Share of requests that fail.</summary>
    public double Rate { get; set; }

    /// <summary>How many failed.</summary>
    public int Count { get; private set; }

    /// <summary>Answers a request with a failure, or leaves it to the server.</summary>
    public async Task<bool> FailAsync(HttpContext context)
    {
        if (!chance(Rate))
        {
            return false;
        }

        string method = context.Request.Method;
        switch (next(12))
        {
            case 0 or 1 when method is "PATCH" or "PUT":
                return await AnswerAsync(context, HttpStatusCode.Conflict, "Conflict");
            case 2 when method == "GET":
                return await AnswerAsync(context, HttpStatusCode.Gone, "Expired");
            case 3 or 4:
                context.Response.Headers.RetryAfter = next(2) == 0 ? "1" : "3";
                return await AnswerAsync(context, HttpStatusCode.TooManyRequests, "TooManyRequests");
            case 5 or 6 or 7:
                return await AnswerAsync(context, HttpStatusCode.InternalServerError, "InternalError");
            case 8:
                context.Response.Headers.RetryAfter = "1";
                return await AnswerAsync(context, HttpStatusCode.ServiceUnavailable, "ServiceUnavailable");
            case 9 when method == "POST" && context.Request.Path.Value!.EndsWith("/pods", StringComparison.Ordinal):
                return await AnswerAsync(context, HttpStatusCode.Forbidden, "Forbidden", "pods is forbidden: exceeded quota: small");
            case 10 when chance(0.1):
                Count++;
                await Task.Delay(Timeout.Infinite, context.RequestAborted); // until the client gives up
                return true;
            default:
                return false;
        }
    }

    /// <summary>What becomes of the answer to a request that was carried out.</summary>
    public AnswerFate FateOfAnswer(HttpContext context)
    {
        if (!chance(Rate / 4))
        {
            return AnswerFate.Arrives;
        }

        Count++;
        return chance(0.1) ? AnswerFate.NeverComes : AnswerFate.IsLost;
    }

    private async Task<bool> AnswerAsync(HttpContext context, HttpStatusCode code, string reason, string message = "injected")
    {
        Count++;
        context.Response.StatusCode = (int)code;
        await context.Response.WriteAsync(new StoreException(code, reason, message).ToStatus().ToJsonString(), context.RequestAborted);
        return true;
    }
}
