using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Resources;

namespace DeepSpeedSharp.Operator.Progress;

/// <summary>Asks rank 0 of every running job where its training stands.</summary>
/// <param name="caches">Jobs and pods; receives the reports.</param>
/// <param name="http">Speaks to pods, without proxies.</param>
/// <param name="interval">Time between two questions to one job.</param>
/// <param name="changed">Told the key of a job with news.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class ProgressPoller(
    JobCaches caches, HttpMessageInvoker http, TimeSpan interval, Action<string> changed, TimeProvider time, ILogger log)
{
    private const int MostParallel = 32;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(2);

    /// <summary>Asks until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var timer = new PeriodicTimer(interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stop))
            {
                DeepSpeedJob[] running = [.. caches.Jobs.All().Where(j => j.Status.Phase == Phases.Running)];
                await Parallel.ForEachAsync(running,
                    new ParallelOptions { MaxDegreeOfParallelism = MostParallel, CancellationToken = stop },
                    async (job, token) => await AskAsync(job, token));
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }
    }

    private async Task AskAsync(DeepSpeedJob job, CancellationToken stop)
    {
        string name = WorkerPods.Name(job.Metadata.Name, job.Status.Attempt, 0);
        PodSnapshot? pod = caches.Pods.Get($"{job.Metadata.NamespaceProperty}/{name}");
        if (pod is not { PodIp: { } ip, IsFinished: false } || pod.OwnerUid != job.Metadata.Uid || job.Spec is null)
        {
            return;
        }

        string host = ip.Contains(':', StringComparison.Ordinal) ? $"[{ip}]" : ip;
        string url = $"http://{host}:{job.Spec.MetricsPort()}/progress";
        using var limit = new CancellationTokenSource(Limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            using HttpResponseMessage response = await http.SendAsync(request, either.Token);
            response.EnsureSuccessStatusCode();
            string text = await ReadAsync(response, either.Token);
            if (ProgressReport.Parse(text) is { } report
                && caches.Progress.Note(job.Key, job.Metadata.Uid, report with { Attempt = report.Attempt ?? job.Status.Attempt }))
            {
                changed(job.Key);
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException && !stop.IsCancellationRequested)
        {
            // Rank 0 may be starting, ending, or another program; the pods themselves say what matters.
            Log.NoProgress(log, job.Key, url, e.Message);
        }
    }

    // The answer comes from a user's program, so its length is not trusted.
    private static async Task<string> ReadAsync(HttpResponseMessage response, CancellationToken cancel)
    {
        await using Stream stream = await response.Content.ReadAsStreamAsync(cancel);
        var buffer = new byte[ProgressReport.MostBytes + 1];
        int length = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancel);
        return length > ProgressReport.MostBytes ? "" : System.Text.Encoding.UTF8.GetString(buffer, 0, length);
    }
}
