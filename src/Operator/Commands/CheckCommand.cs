using System.CommandLine;

namespace DeepSpeedSharp.Operator.Commands;

/// <summary><c>deepspeed-operator check</c>: asks a running operator whether it is ready. The chart's test runs it.</summary>
internal static class CheckCommand
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var url = new Option<Uri>("--url")
        {
            Description = "Where the operator serves /readyz.",
            DefaultValueFactory = _ => new Uri("http://127.0.0.1:8080"),
        };
        var metrics = new Option<Uri?>("--metrics-url") { Description = "Where it serves /metrics without a token; not asked when left out." };
        var command = new Command("check", "Asks a running operator whether it is ready, and whether it counts its jobs.") { url, metrics };
        command.SetAction(async (result, cancel) =>
            await RunAsync(result.GetValue(url)!, result.GetValue(metrics), Console.Out, Console.Error, cancel));
        return command;
    }

    /// <summary>Asks, and says what is wrong.</summary>
    /// <returns>0 when the operator is ready.</returns>
    /// <param name="url">Where it serves /readyz.</param>
    /// <param name="metrics">Where it serves /metrics; null to leave them out.</param>
    /// <param name="output">Receives the good news.</param>
    /// <param name="error">Receives what is wrong.</param>
    /// <param name="cancel">Ends the questions.</param>
    internal static async Task<int> RunAsync(Uri url, Uri? metrics, TextWriter output, TextWriter error, CancellationToken cancel)
    {
        using var client = new HttpClient { Timeout = Limit };
        (Uri Url, string Expected)[] questions =
        [
            (new Uri(url, "readyz"), "ok"),
            .. metrics is null ? [] : new[] { (new Uri(metrics, "metrics"), "deepspeedjob_pods_created_total") },
        ];
        foreach ((Uri asked, string expected) in questions)
        {
            try
            {
                using HttpResponseMessage answer = await client.GetAsync(asked, cancel);
                string text = await answer.Content.ReadAsStringAsync(cancel);
                if (!answer.IsSuccessStatusCode || !text.Contains(expected, StringComparison.Ordinal))
                {
                    await error.WriteLineAsync($"{asked}: {(int)answer.StatusCode}, {FirstLine(text)}; look at the operator's log");
                    return 1;
                }
            }
            catch (HttpRequestException e)
            {
                await error.WriteLineAsync($"{asked}: {e.Message}; is the operator running, and may this pod reach it?");
                return 1;
            }
            catch (TaskCanceledException) when (!cancel.IsCancellationRequested)
            {
                await error.WriteLineAsync($"{asked}: no answer within {Limit.TotalSeconds:0} s; does a NetworkPolicy cut it off?");
                return 1;
            }
        }

        await output.WriteLineAsync($"the operator at {url} is ready");
        return 0;
    }

    private static string FirstLine(string text) => text.Split('\n')[0] is { Length: > 0 } line ? line : "an empty answer";
}
