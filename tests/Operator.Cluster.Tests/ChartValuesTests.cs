using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The operator as other values of its chart install it. Each test leaves the usual one behind.</summary>
[Trait("Category", "Slow")]
public sealed class ChartValuesTests(TestCluster cluster) : ClusterTest(cluster)
{
    private const string OperatorNamespace = "deepspeed-system";

    private static readonly string[][] Renderings =
    [
        [],
        ["rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=other", "crds.install=false"],
        ["leaderElection.enabled=false"],
        ["replicaCount=3", "podDisruptionBudget.enabled=true", "podDisruptionBudget.minAvailable=2", "leaderElection.leaseDuration=30s"],
        ["watchNamespaces[0]=default", "watchNamespaces[1]=kube-public"],
        ["watchNamespaces[0]=default", "controller.watchNodes=true", "rbac.aggregateClusterRoles=true", "metrics.secure=true"],
        ["metrics.secure=true", "metrics.tlsSecretName=certificate"],
        ["metrics.enabled=false", "hostNetwork=true"],
        ["nameOverride=short", "fullnameOverride=full", "commonLabels.team=a", "crds.annotations.note=b", "crds.keep=false"],
        ["image.registry=registry.example.com:5000/team", "image.tag=v9", "image.pullPolicy=Always", "imagePullSecrets[0].name=pull"],
        ["image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
        ["serviceAccount.annotations.role=x", "serviceAccount.automount=false", "extraVolumes[0].name=token", "extraVolumes[0].emptyDir.medium=Memory",
            "extraVolumeMounts[0].name=token", "extraVolumeMounts[0].mountPath=/token", "extraEnv[0].name=A", "extraEnv[0].value=b", "extraArgs[0]=--log-format=text"],
        ["nodeSelector.disk=ssd", "tolerations[0].operator=Exists", "priorityClassName=system-cluster-critical", "podAnnotations.a=b", "podLabels.c=d",
            "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
            "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=zone",
            "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists",
            "topologySpreadConstraints[0].topologyKey=zone", "topologySpreadConstraints[0].maxSkew=1", "topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway"],
        ["networkPolicy.enabled=true", "networkPolicy.ingressFrom[0].namespaceSelector.matchLabels.name=monitoring"],
        ["metrics.grafanaDashboard.enabled=true", "defaults.trainerImage=worker:1", "defaults.shmSizeLimit=1Gi", "defaults.schedulerName=other"],
    ];

    [Fact]
    public async Task EveryRendering_IsTakenByTheServer()
    {
        Kubectl kubectl = Story("30-renderings");
        string version = (string)JsonNode.Parse(await kubectl.GetAsync("version", "-o", "json"))!["serverVersion"]!["gitVersion"]!;
        foreach (string[] values in Renderings)
        {
            string file = await TestCluster.Render(["--name", "other", "--namespace", OperatorNamespace, "--kube-version", version, .. values.SelectMany(v => new[] { "--set", v })]);
            ShellResult result = await kubectl.ShowAsync("apply", "--dry-run=server", "--validate=false", "-f", file);
            File.Delete(file);
            Assert.True(result.ExitCode == 0, $"{string.Join(' ', values)}:\n{result.All}");
        }
    }

    [Fact]
    public async Task SecureMetrics_AreForThoseWhoMayRead()
    {
        Kubectl kubectl = Story("31-secure-metrics");
        NeedsThisMachine("reaching pods");
        try
        {
            await Cluster.InstallOperator("--set", "metrics.secure=true");
            foreach (string account in new[] { "permitted", "refused" })
            {
                await kubectl.RunAsync("-n", OperatorNamespace, "create", "serviceaccount", account);
            }

            await kubectl.RunAsync("create", "clusterrolebinding", "permitted-metrics", "--clusterrole=deepspeed-operator-metrics-reader",
                $"--serviceaccount={OperatorNamespace}:permitted");
            // The one before may still be on its way out.
            JsonNode pods = JsonNode.Parse(await kubectl.GetAsync("-n", OperatorNamespace, "get", "pods", "-l", "app.kubernetes.io/name=deepspeed-operator", "-o", "json"))!;
            string ip = (string)pods["items"]!.AsArray().Single(p => p!["metadata"]!["deletionTimestamp"] is null
                && (string?)p["status"]!["phase"] == "Running")!["status"]!["podIP"]!;

            (HttpStatusCode code, string text) = await MetricsAsync(ip, await TokenAsync(kubectl, "permitted"));
            await kubectl.NoteAsync($"permitted: {(int)code}");
            Assert.True(code == HttpStatusCode.OK, text);
            Assert.Contains("deepspeedjob_pods_created_total", text);
            (code, text) = await MetricsAsync(ip, await TokenAsync(kubectl, "refused"));
            await kubectl.NoteAsync($"refused: {(int)code} {text}");
            Assert.Equal(HttpStatusCode.Forbidden, code);
            Assert.Contains($"system:serviceaccount:{OperatorNamespace}:refused may not get /metrics", text);
            Assert.Equal(HttpStatusCode.Unauthorized, (await MetricsAsync(ip, "made-up")).Code);
            Assert.Equal(HttpStatusCode.Unauthorized, (await MetricsAsync(ip, null)).Code);
        }
        finally
        {
            await kubectl.RunAsync("delete", "clusterrolebinding", "permitted-metrics", "--ignore-not-found");
            await kubectl.RunAsync("-n", OperatorNamespace, "delete", "serviceaccount", "permitted", "refused", "--ignore-not-found");
            await Cluster.InstallOperator();
        }
    }

    [Fact]
    public async Task Operator_OfOneNamespace_NeedsNoClusterRole()
    {
        Kubectl kubectl = Story("32-one-namespace");
        await using Job outside = new(kubectl, "small");
        try
        {
            await kubectl.RunAsync("create", "namespace", "team-a");
            await kubectl.RunAsync("delete", "clusterrole,clusterrolebinding", "deepspeed-operator", "--ignore-not-found");
            await Cluster.InstallOperator("--set", "watchNamespaces[0]=team-a");
            await kubectl.GetAsync("apply", "-f", Job.Manifest("small.yaml"));
            await kubectl.GetAsync("-n", "team-a", "apply", "-f", Job.Manifest("small.yaml"));

            await outside.WaitAsync("the job of the namespace trains", async () =>
                await kubectl.GetAsync("-n", "team-a", "get", "dsj", "small", "-o", "jsonpath={.status.phase}") == "Running", 90);

            await kubectl.ShowAsync("get", "dsj", "--all-namespaces");
            Assert.Equal("", await kubectl.GetAsync("get", "dsj", "small", "-o", "jsonpath={.status.phase}"));
            ShellResult log = await kubectl.ShowAsync("-n", OperatorNamespace, "logs", "deployment/deepspeed-operator", "--tail=30");
            Assert.DoesNotContain("forbidden: User \\\"system:serviceaccount:deepspeed-system:deepspeed-operator\\\" cannot list", log.Output);
        }
        finally
        {
            await kubectl.RunAsync("-n", "team-a", "delete", "dsj", "--all", "--timeout=60s");
            await Cluster.InstallOperator();
            await kubectl.RunAsync("delete", "namespace", "team-a", "--wait=false");
        }
    }

    [Fact]
    public async Task TwoReplicas_OneLeads_AndTheOtherGoesOnWhenItGoes()
    {
        Kubectl kubectl = Story("33-two-replicas");
        try
        {
            await Cluster.InstallOperator("--set", "replicaCount=2", "--set", "podDisruptionBudget.enabled=true");
            await using Job job = await Job.ApplyAsync(kubectl, "small", Job.Manifest("small.yaml"));
            await job.WaitForPhaseAsync("Running", 90);
            string leader = await LeaderAsync(kubectl);
            await kubectl.ShowAsync("-n", OperatorNamespace, "get", "pods,pdb,lease");

            await kubectl.ShowAsync("-n", OperatorNamespace, "delete", "pod", leader.Split('_')[0], "--wait=false");
            await job.WaitAsync("another replica leads", async () => await LeaderAsync(kubectl) is { Length: > 0 } now && now != leader, 60);
            await kubectl.RunAsync("delete", "pod", "small-1-0", "--force", "--grace-period=0");
            await job.WaitAsync("the new leader restarts the job", s => (int?)s["attempt"] == 2 && (string?)s["phase"] == "Running", 90);

            Assert.Equal((0, 1), ((int)(await job.StatusAsync())["restarts"]!, (int)(await job.StatusAsync())["disruptions"]!));
        }
        finally
        {
            await kubectl.RunAsync("-n", OperatorNamespace, "delete", "pdb", "deepspeed-operator", "--ignore-not-found");
            await Cluster.InstallOperator();
        }
    }

    private static async Task<string> LeaderAsync(Kubectl kubectl) =>
        await kubectl.GetAsync("-n", OperatorNamespace, "get", "lease", "deepspeed-operator", "-o", "jsonpath={.spec.holderIdentity}");

    private static async Task<string> TokenAsync(Kubectl kubectl, string account)
    {
        // Clusters before 1.24 make a secret for each account, later ones make tokens when asked.
        ShellResult made = await kubectl.RunAsync("-n", OperatorNamespace, "create", "token", account);
        if (made.ExitCode == 0)
        {
            return made.Output.Trim();
        }

        string secret = await kubectl.GetAsync("-n", OperatorNamespace, "get", "serviceaccount", account, "-o", "jsonpath={.secrets[0].name}");
        return Encoding.ASCII.GetString(Convert.FromBase64String(await kubectl.GetAsync("-n", OperatorNamespace, "get", "secret", secret, "-o", "jsonpath={.data.token}")));
    }

    private static async Task<(HttpStatusCode Code, string Text)> MetricsAsync(string ip, string? token)
    {
        using var handler = new SocketsHttpHandler { UseProxy = false };
        handler.SslOptions.RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate?.Subject == "CN=deepspeed-operator";
        using var client = new HttpClient(handler) { Timeout = TimeSpan.FromSeconds(20) };
        if (token is not null)
        {
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        using HttpResponseMessage answer = await client.GetAsync(new Uri($"https://{ip}:8080/metrics"));
        return (answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }
}
