using System.Text;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using DeepSpeedSharp.Operator.Tests.Planning;

namespace DeepSpeedSharp.Operator.Tests.Security;

/// <summary>Each attempt has a secret of its own. The fake API server answers nobody who wants to read one.</summary>
public sealed class RendezvousSecretTests
{
    [Fact]
    public async Task Attempt_HasASecretOfItsOwn_MountedAsAFile()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();

        JsonObject secret = Assert.Single(cluster.Api.Store.All("secrets"));
        Assert.StartsWith("a-1-", (string?)secret["metadata"]!["name"]);
        Assert.True((bool)secret["immutable"]!);
        Assert.Equal("a", (string?)secret["metadata"]!["ownerReferences"]![0]!["name"]);
        Assert.Matches("^[0-9a-f]{64}$", Value(secret));
        JsonNode pod = cluster.Api.Store.Find("pods", "a-1-0")!["spec"]!;
        JsonNode volume = pod["volumes"]!.AsArray().Single(v => (string?)v!["name"] == "rendezvous")!;
        Assert.Equal((string?)secret["metadata"]!["name"], (string?)volume["secret"]!["secretName"]);
        Assert.Equal(0b100_100_000, (int)volume["secret"]!["defaultMode"]!);
        JsonNode variable = pod["containers"]![0]!["env"]!.AsArray().Single(v => (string?)v!["name"] == "DEEPSPEED_SECRET_FILE")!;
        Assert.Equal("/etc/deepspeed-secret/rendezvous", (string?)variable["value"]);
        Assert.DoesNotContain(Value(secret), pod.ToJsonString());
    }

    [Fact]
    public async Task NextAttempt_HasAnotherOne_AndTheOldOneGoes()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        string first = Value(Assert.Single(cluster.Api.Store.All("secrets")));

        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.PodExists("a-2-1"), "pods of attempt 2 exist");

        JsonObject second = Assert.Single(cluster.Api.Store.All("secrets"));
        Assert.StartsWith("a-2-", (string?)second["metadata"]!["name"]);
        Assert.NotEqual(first, Value(second));
    }

    [Fact]
    public async Task Operator_DiesBeforeThePods_TheNextOneGoesOnWithTheSameSecret()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.OnWrite = (_, path) => path.EndsWith("/pods", StringComparison.Ordinal) && cluster.Client == "operator-1" ? Crash.Before : Crash.None;
        cluster.Apply("a");
        await cluster.Until(() => cluster.Api.Store.All("secrets").Count == 1 && cluster.Api.IsDead("operator-1"), "the operator is dead");
        string value = Value(cluster.Api.Store.All("secrets")[0]);

        cluster.Start();
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");

        Assert.Equal(value, Value(Assert.Single(cluster.Api.Store.All("secrets"))));
    }

    [Fact]
    public async Task Secret_ThatMayNotBeMade_IsSaid()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(before: api => api.Intercept = async context =>
        {
            if (!context.Request.Path.Value!.EndsWith("/secrets", StringComparison.Ordinal))
            {
                return false;
            }

            context.Response.StatusCode = 403;
            await Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response,
                """{"kind":"Status","status":"Failure","reason":"Forbidden","message":"secrets is forbidden: exceeded quota: small","code":403}""");
            return true;
        });
        cluster.Apply("a");

        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "QuotaExceeded", "the quota is named");

        Assert.False(cluster.PodExists("a-1-0"));
    }

    [Theory]
    [InlineData("Worker", true)]
    [InlineData("PerGpu", true)]
    [InlineData("Torchrun", false)]
    [InlineData("DeepSpeed", false)]
    public void Secret_IsForProgramsThatAskForIt(string launcher, bool isUsed) =>
        Assert.Equal(isUsed, RendezvousSecret.IsUsed(Some.Spec() with { Launcher = launcher }));

    [Theory]
    [InlineData(0, 1, "")]
    [InlineData(1, 2, "a-1-12345678")]
    [InlineData(0, 3, "a-1-12345678 a-2-12345678")]
    [InlineData(4, 6, "a-4-12345678 a-5-12345678")]
    [InlineData(6, 6, "")]
    public void Older_AreThoseThatMayBeThere(int created, int attempt, string names) =>
        Assert.Equal(names, string.Join(' ', RendezvousSecret.Older(new JobOwner("a", "default", "12345678-9abc"), created, attempt)));

    private static string Value(JsonObject secret) => Encoding.ASCII.GetString(Convert.FromBase64String((string)secret["data"]!["rendezvous"]!));
}
