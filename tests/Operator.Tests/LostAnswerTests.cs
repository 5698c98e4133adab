using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>Writes that were carried out though nobody was told.</summary>
public sealed class LostAnswerTests
{
    [Fact]
    public async Task Job_WhoseEndWasWrittenAndNotHeardOf_GetsNoPods()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        bool refuses = true;
        cluster.Api.Intercept = context =>
        {
            bool isRefused = refuses && context.Request.Method == "POST" && context.Request.Path.Value!.EndsWith("/configmaps", StringComparison.Ordinal);
            context.Response.StatusCode = isRefused ? StatusCodes.Status500InternalServerError : StatusCodes.Status200OK;
            return Task.FromResult(isRefused);
        };
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"startupDeadlineSeconds":90}""");
        await cluster.Until(() => (int?)cluster.Status("a")["attempt"] == 1, "the first attempt begins, and cannot have pods");

        // The clock is wrong for a moment, so that the job is too late; neither an answer nor a watch tells that this was written.
        cluster.Api.Distortion = new WatchDistortion(share => share > 0, cluster.Time) { Silent = 1 };
        cluster.Api.Answering = context => context.Request.Path.Value!.EndsWith("/a/status", StringComparison.Ordinal) ? AnswerFate.IsLost : AnswerFate.Arrives;
        cluster.Time.Error = TimeSpan.FromHours(1);
        await cluster.UntilPhase("a", "Failed");
        cluster.Time.Error = TimeSpan.Zero;
        cluster.Api.Answering = null;
        refuses = false;
        await cluster.Settle(70);

        Assert.DoesNotContain(cluster.Api.Store.Created, created => created.StartsWith("pods/", StringComparison.Ordinal));
    }
}
