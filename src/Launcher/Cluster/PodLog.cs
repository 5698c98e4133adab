using System.Globalization;
using System.Net;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>The log of one pod, line by line, once each: also when the connection breaks in between.</summary>
/// <param name="client">The cluster.</param>
/// <param name="pod">Name of the pod.</param>
internal sealed class PodLog(JobClient client, string pod)
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    private string _last = "";

    /// <summary>Reads the log as it is now.</summary>
    /// <param name="lines">Number of lines from the end; null for all.</param>
    /// <param name="show">Receives each line.</param>
    /// <param name="cancel">Ends it.</param>
    public Task ReadAsync(int? lines, Action<string> show, CancellationToken cancel) => OnceAsync(Tail(lines), show, cancel);

    /// <summary>Follows the log to the end of the container.</summary>
    /// <param name="lines">Number of lines before now; null for all.</param>
    /// <param name="hasEnded">Whether the container has ended, and so the end of the log is its end.</param>
    /// <param name="show">Receives each line.</param>
    /// <param name="cancel">Ends it.</param>
    public async Task FollowAsync(int? lines, Func<Task<bool>> hasEnded, Action<string> show, CancellationToken cancel)
    {
        string from = Tail(lines);
        while (!cancel.IsCancellationRequested)
        {
            bool isLast = false;
            try
            {
                // Asked before the log is read: what an ended container wrote is then all there.
                isLast = await hasEnded();
                await OnceAsync($"follow=true&{from}", show, cancel);
                isLast |= await hasEnded() && _last.Length == 0;
            }
            catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
            {
                return;
            }
            catch (Exception e) when (ClusterCommand.IsOutage(e) || e is ApiException { Code: HttpStatusCode.BadRequest })
            {
                // The server is away for a moment, or the container has not begun.
                isLast = false;
            }

            if (isLast)
            {
                return;
            }

            from = _last.Length == 0 ? from : $"sinceTime={Uri.EscapeDataString(_last)}";
            await Task.Delay(Pause, cancel);
        }
    }

    private static string Tail(int? lines) => lines is { } count ? $"tailLines={count}" : "";

    private async Task OnceAsync(string query, Action<string> show, CancellationToken cancel)
    {
        using HttpResponseMessage response = await client.LogAsync(pod, $"timestamps=true&{query}", cancel);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancel));
        while (await reader.ReadLineAsync(cancel) is { } line)
        {
            int blank = line.IndexOf(' ', StringComparison.Ordinal);
            (string time, string text) = blank < 0 ? (line, "") : (line[..blank], line[(blank + 1)..]);
            if (!DateTimeOffset.TryParse(time, CultureInfo.InvariantCulture, out _))
            {
                continue; // the kubelet's own words, for example that the container is gone by now
            }

            // The server's beginning is rounded to a second, so some lines come again.
            if (string.CompareOrdinal(Comparable(time), Comparable(_last)) > 0)
            {
                _last = time;
                show(text);
            }
        }
    }

    // Go leaves zeros at the end of a fraction out: 10:00:00.5Z is before 10:00:00.51Z.
    private static string Comparable(string time)
    {
        string plain = time.TrimEnd('Z');
        return plain.Contains('.', StringComparison.Ordinal) ? plain.PadRight("2026-01-01T00:00:00.000000000".Length, '0')
            : plain.Length == 0 ? "" : $"{plain}.000000000";
    }
}
