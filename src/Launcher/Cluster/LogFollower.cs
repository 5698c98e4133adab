namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>Follows the logs of a job's pods as they come and go.</summary>
/// <param name="client">The cluster.</param>
/// <param name="job">Name of the job.</param>
/// <param name="console">Where their lines are shown.</param>
/// <param name="node">Only this node; null for all.</param>
/// <param name="lines">Number of lines before now; null for all.</param>
/// <param name="onlyNew">Whether what has ended before now is not shown.</param>
internal sealed class LogFollower(JobClient client, string job, RunConsole console, int? node, int? lines, bool onlyNew = false)
{
    private static readonly TimeSpan LastLines = TimeSpan.FromSeconds(15);
    private readonly Dictionary<string, Task> _followed = [];
    private IReadOnlyList<PodLine> _pods = [];
    private bool _hasLooked;

    /// <summary>How a pod's lines begin.</summary>
    public static LaunchNode LabelOf(PodLine pod) =>
        new(pod.Node, $"node {pod.Node}", pod.Name, [], [], new Dictionary<string, string>());

    /// <summary>Looks for pods whose log is not followed yet.</summary>
    public async Task LookAsync(CancellationToken cancel)
    {
        _pods = await client.PodsAsync(job, cancel);
        if (!_hasLooked)
        {
            Skip();
        }

        // Pods that come later are shown from their first line.
        int? before = _hasLooked ? null : lines;
        _hasLooked = true;
        foreach (PodLine pod in _pods.Where(pod => pod.HasLog && (node is null || pod.Node == node) && !_followed.ContainsKey(pod.Name)))
        {
            _followed[pod.Name] = FollowAsync(pod, before, cancel);
        }
    }

    // Failed pods of earlier attempts are kept for a look; they are no part of what happens now.
    private void Skip()
    {
        int latest = _pods.Select(pod => pod.Attempt).DefaultIfEmpty(0).Max();
        foreach (PodLine pod in _pods.Where(pod => pod.Attempt < latest || (onlyNew && pod.IsEnded)))
        {
            _followed[pod.Name] = Task.CompletedTask;
        }
    }

    /// <summary>Waits for the last lines of pods that have ended.</summary>
    public async Task FinishAsync() => await Task.WhenAny(Task.WhenAll(_followed.Values), Task.Delay(LastLines));

    private async Task FollowAsync(PodLine pod, int? before, CancellationToken cancel)
    {
        try
        {
            await new PodLog(client, pod.Name).FollowAsync(before, HasEndedAsync, line => console.Relay(LabelOf(pod), line), cancel);
        }
        catch (OperationCanceledException)
        {
        }
        catch (Operator.Runtime.ApiException e)
        {
            console.Problem($"the log of {pod.Name} cannot be read: {e.Message}");
        }

        async Task<bool> HasEndedAsync()
        {
            _pods = await client.PodsAsync(job, cancel);
            return _pods.FirstOrDefault(other => other.Name == pod.Name) is null or { IsEnded: true };
        }
    }
}
