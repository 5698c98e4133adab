using System.Net;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Waits until a cluster-wide object is as this program needs it, and says what it waits for.</summary>
/// <param name="api">The API server.</param>
/// <param name="path">Path of the object.</param>
/// <param name="problem">What is wrong with the object; null when nothing is.</param>
/// <param name="absent">What to say when there is no such object.</param>
/// <param name="time">Clock.</param>
/// <param name="log">Log.</param>
internal sealed class StartGate(
    ApiConnection api, string path, Func<JsonElement, string?> problem, string absent, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(5);

    /// <summary>What is waited for; null when the gate is open.</summary>
    public string? Waits { get; private set; } = $"{path} was not looked at yet";

    /// <summary>Returns when all is well, or when this process may not look; throws when cancelled.</summary>
    public async Task OpenAsync(CancellationToken stop)
    {
        string? said = null;
        while (Waits is not null)
        {
            try
            {
                Waits = problem(await api.GetAsync(path, stop));
            }
            catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
            {
                Waits = absent;
            }
            catch (ApiException e) when (e.Code is HttpStatusCode.Forbidden)
            {
                // In single namespaces an operator has no right to anything else.
                Log.GateUnseen(log, path, e.ServerMessage);
                Waits = null;
            }
            catch (Exception e) when (e is ApiException or HttpRequestException or IOException or TimeoutException or JsonException)
            {
                Waits = e.Message;
            }

            if (Waits is { } waits)
            {
                if (waits != said)
                {
                    Log.GateClosed(log, waits);
                    said = waits;
                }

                await Task.Delay(Between, time, stop);
            }
        }
    }
}
