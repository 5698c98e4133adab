using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>The part of the API server's list of APIs that is about gang schedulers, which a cluster has or not.</summary>
internal sealed class GangApis
{
    private int _looks;

    /// <summary>Whether the cluster has all of them, or none.</summary>
    public bool All { get; set; }

    /// <summary>How often somebody looked.</summary>
    public int Looks => Volatile.Read(ref _looks);

    /// <summary>Answers a request, if it is one for the list.</summary>
    public async Task<bool> AnswerAsync(HttpContext context)
    {
        JsonObject? answer = context.Request.Path.Value switch
        {
            "/apis/scheduling.volcano.sh/v1beta1" or "/apis/scheduling.x-k8s.io/v1alpha1" =>
                new JsonObject { ["resources"] = new JsonArray(new JsonObject { ["name"] = "podgroups" }) },
            "/apis/kueue.x-k8s.io" => new JsonObject { ["preferredVersion"] = new JsonObject { ["groupVersion"] = "kueue.x-k8s.io/v1beta2" } },
            _ => null,
        };
        if (answer is null)
        {
            return false;
        }

        Interlocked.Increment(ref _looks);
        context.Response.StatusCode = All ? 200 : 404;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(All ? answer.ToJsonString() : """{"reason":"NotFound","message":"the server could not find the requested resource"}""");
        return true;
    }
}
