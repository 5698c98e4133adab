using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

public sealed class TrainingTests(TestCluster cluster) : ClusterTest(cluster)
{
    private static readonly HttpClient Http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(5) };

    [Fact]
    public async Task SampleJob_OnTwoNodes_TrainsToItsEnd()
    {
        Kubectl kubectl = Story("1-sample");
        await kubectl.ShowAsync("explain", "dsj.spec");
        await kubectl.ShowAsync("explain", "dsj.spec.checkpoint.volumeClaimTemplate");
        await using Job job = await Job.ApplyAsync(kubectl, "gpt2-bytes", RepositoryFiles.Of("samples", "gpt2-bytes", "job.yaml"));
        await job.WaitForPhaseAsync("Running", 60);
        await kubectl.ShowAsync("get", "dsj,pods,svc,cm,pvc", "-o", "wide");

        var seen = new SortedDictionary<long, double>();
        await job.WaitAsync("three different steps", status =>
        {
            if (Job.Step(status) > 0)
            {
                seen[Job.Step(status)] = double.Parse((string)status["progress"]!["loss"]!, CultureInfo.InvariantCulture);
            }

            return seen.Count >= 3 && Job.Step(status) >= 60;
        }, 90);
        await kubectl.ShowAsync("get", "dsj");
        Assert.True(seen.Values.Last() < seen.Values.First(), $"the loss does not fall: {string.Join(", ", seen)}");
        if (TestCluster.IsOwn)
        {
            await EachPodIsScraped(job);
        }

        JsonNode done = await job.WaitForPhaseAsync("Complete", 240);
        await kubectl.ShowAsync("get", "dsj", "gpt2-bytes", "-o", "wide");
        await kubectl.ShowAsync("describe", "dsj", "gpt2-bytes");
        await kubectl.ShowAsync("logs", "gpt2-bytes-1-0", "--tail=12");
        Assert.Equal((300, 100, 0), ((int)done["progress"]!["step"]!, (int)done["progress"]!["percent"]!, (int)done["restarts"]!));
        Assert.Equal("0-1", (string?)done["succeededNodes"]);
        ShellResult wait = await kubectl.ShowAsync("wait", "--for=condition=Complete", "--timeout=5s", "dsj/gpt2-bytes");
        Assert.Equal(0, wait.ExitCode);
        if (TestCluster.IsOwn)
        {
            await CheckpointsAreOnTheVolume(kubectl, (await job.CheckpointsAsync())!);
        }
    }

    private static async Task EachPodIsScraped(Job job)
    {
        foreach (string metric in new[] { "deepspeed_step", "deepspeed_train_loss" })
        {
            IReadOnlyDictionary<string, double> values = new Dictionary<string, double>();
            await job.WaitAsync($"Prometheus has {metric} of both pods", async () =>
            {
                values = await QueryAsync($$"""{{metric}}{pod=~"gpt2-bytes-1-.*"} > 0""");
                return values.Count == 2;
            }, 20);
            Assert.Equal(["gpt2-bytes-1-0", "gpt2-bytes-1-1"], values.Keys.Order());
        }

        IReadOnlyDictionary<string, double> jobs = await QueryAsync("""deepspeedjob_jobs{phase="Running"} > 0""");
        Assert.Single(jobs);
    }

    private static async Task<IReadOnlyDictionary<string, double>> QueryAsync(string query)
    {
        string answer = await Http.GetStringAsync($"{TestCluster.Prometheus}/api/v1/query?query={Uri.EscapeDataString(query)}");
        return JsonNode.Parse(answer)!["data"]!["result"]!.AsArray().ToDictionary(
            r => (string)r!["metric"]!["pod"]!,
            r => double.Parse((string)r!["value"]![1]!, CultureInfo.InvariantCulture));
    }

    private static async Task CheckpointsAreOnTheVolume(Kubectl kubectl, string folder)
    {
        string[] files = [.. Directory.GetFileSystemEntries(folder).Select(f => Path.GetFileName(f)).Order()];
        await kubectl.NoteAsync($"on the volume: {string.Join(' ', files)}");
        Assert.Contains("latest", files);
        Assert.Contains("global_step300", files);
        Assert.Contains("global_step300", await File.ReadAllTextAsync(Path.Combine(folder, "latest")));
        Assert.NotEmpty(Directory.GetFiles(Path.Combine(folder, "global_step300"), "*.safetensors"));
    }
}
