using DeepSpeedSharp.Operator.Commands;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>What the chart's test says of an operator.</summary>
public sealed class CheckCommandTests
{
    [Theory]
    [InlineData(200, "ok\n", "deepspeedjob_pods_created_total 1\n", 0, "is ready")]
    [InlineData(503, "the first lists are not there yet\n", "", 1, "readyz: 503, the first lists are not there yet; look at the operator's log")]
    [InlineData(200, "ok\n", "", 1, "metrics: 200, an empty answer")]
    public async Task Check_OfAnOperator_SaysHowItIs(int ready, string text, string metrics, int code, string message)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        await using WebApplication server = builder.Build();
        server.MapGet("/readyz", () => Results.Text(text, statusCode: ready));
        server.MapGet("/metrics", () => metrics);
        await server.StartAsync(TestContext.Current.CancellationToken);
        using StringWriter output = new(), error = new();

        int result = await CheckCommand.RunAsync(new Uri(server.Urls.Single()), new Uri(server.Urls.Single()), output, error, TestContext.Current.CancellationToken);

        Assert.Equal(code, result);
        Assert.Contains(message, $"{output}{error}");
    }

    [Fact]
    public async Task Check_OfNobody_SaysSo()
    {
        using StringWriter output = new(), error = new();

        int result = await CheckCommand.RunAsync(new Uri("http://127.0.0.1:1"), null, output, error, TestContext.Current.CancellationToken);

        Assert.Equal(1, result);
        Assert.Contains("is the operator running", error.ToString());
    }
}
