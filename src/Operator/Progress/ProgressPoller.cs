using System.Collections.Concurrent;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Progress;

/// <summary>Asks rank 0 of every running job where its training stands, and all nodes of one that does not move.</summary>
/// <param name="caches">Jobs and pods; receives the reports.</param>
/// <param name="http">Speaks to pods, without proxies.</param>
/// <param name="interval">Time between two questions to one job that names none.</param>
/// <param name="changed">Told the key of a job with news.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class ProgressPoller(
    JobCaches caches, HttpMessageInvoker http, TimeSpan interval, Action<string> changed, TimeProvider time, ILogger log)
{
    private const int MostParallel = 32;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(2);
    private readonly ConcurrentDictionary<string, TimeSpan> _due = new();

    /// <summary>Asks until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        TimeSpan tick = interval < TimeSpan.FromSeconds(1) ? interval : TimeSpan.FromSeconds(1);
        using var timer = new PeriodicTimer(tick, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stop))
            {
                DeepSpeedJob[] running = [.. caches.Jobs.All().Where(j => j.Status.Phase == Phases.Running
                    && j.Spec is { } spec && spec.IsOurs() && spec.PullsProgress() && IsDue(j.Key, spec))];
                await Parallel.ForEachAsync(running,
                    new ParallelOptions { MaxDegreeOfParallelism = MostParallel, CancellationToken = stop },
                    async (job, token) => await AskAsync(job, token));
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }
    }

    /// <summary>Forgets a job.</summary>
    public void Forget(string key) => _due.TryRemove(key, out _);

    private bool IsDue(string key, DeepSpeedJobSpec spec)
    {
        TimeSpan now = time.GetElapsedTime(0); // the time of day may be set
        if (_due.TryGetValue(key, out TimeSpan due) && now < due)
        {
            return false;
        }

        _due[key] = now + (spec.Progress?.IntervalSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : interval);
        return true;
    }

    private async Task AskAsync(DeepSpeedJob job, CancellationToken stop)
    {
        (int attempt, string uid) = (job.Status.Attempt, job.Metadata.Uid);
        PodSnapshot[] pods = [.. caches.Pods.Group(uid).Where(p => p.Attempt == attempt && p is { PodIp: not null, IsFinished: false })];
        if (pods.FirstOrDefault(p => p.Index == 0) is not { } first)
        {
            return;
        }

        if (await AskAsync(job, first, stop) is { } report && (report.Attempt ?? attempt) == attempt
            && caches.Progress.Note(job.Key, uid, attempt, report, Now()))
        {
            changed(job.Key);
        }

        if (IsSuspicious(job, caches.Progress.Latest(job.Key, uid, attempt)))
        {
            var steps = new ConcurrentDictionary<int, long?>();
            await Parallel.ForEachAsync(pods, new ParallelOptions { MaxDegreeOfParallelism = MostParallel, CancellationToken = stop },
                async (pod, token) => steps[pod.Index] = (await AskAsync(job, pod, token))?.Step);
            caches.Progress.Note(job.Key, uid, attempt, steps.ToDictionary());
        }
    }

    // Half of the time is over without a step: by the deadline it should be known who does not answer.
    private bool IsSuspicious(DeepSpeedJob job, BoardEntry? known)
    {
        if (job.Spec?.ProgressDeadlineSeconds is not { } seconds)
        {
            return false;
        }

        DateTimeOffset? moved = new[] { known?.MovedAt, job.Status.Condition(ConditionTypes.Running)?.LastTransitionTime }.Max();
        return moved is { } at && Now() - at >= TimeSpan.FromSeconds(seconds) / 2;
    }

    private DateTimeOffset Now() => time.GetUtcNow();

    private async Task<ProgressReport?> AskAsync(DeepSpeedJob job, PodSnapshot pod, CancellationToken stop)
    {
        string host = pod.PodIp!.Contains(':', StringComparison.Ordinal) ? $"[{pod.PodIp}]" : pod.PodIp;
        string url = $"http://{host}:{job.Spec!.MetricsPort()}/progress";
        using var limit = new CancellationTokenSource(Limit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            using HttpResponseMessage response = await http.SendAsync(request, either.Token);
            response.EnsureSuccessStatusCode();
            return ProgressReport.Parse(await ReadAsync(response, either.Token));
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException && !stop.IsCancellationRequested)
        {
            // The rank may be starting, ending, stuck, or another program; the pods themselves say what matters.
            Log.NoProgress(log, job.Key, url, e.Message);
            return null;
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
