using System.Text.Json;

namespace DeepSpeedSharp.Worker;

/// <summary>The last word of a container: Kubernetes keeps it in the pod's status, and the operator reads it there.</summary>
internal static class TerminationMessage
{
    private const string Path = "/dev/termination-log";
    private const int LongestMessage = 2000;

    /// <summary>Writes the message where Kubernetes has put a file for it, and nowhere else.</summary>
    /// <remarks>The first word counts: when one rank of a node fails, the others follow with consequences.</remarks>
    /// <param name="kind">Kind of the end.</param>
    /// <param name="retryable">Whether trying again helps.</param>
    /// <param name="message">What happened.</param>
    /// <param name="progress">How far training is.</param>
    /// <param name="lostRanks">The ranks whose loss ended this one.</param>
    public static void Write(string kind, bool retryable, string message, RunProgress? progress = null, IReadOnlyList<int>? lostRanks = null)
    {
        if (!File.Exists(Path) || new FileInfo(Path).Length > 0)
        {
            return;
        }

        try
        {
            File.WriteAllText(Path, JsonSerializer.Serialize(new
            {
                kind,
                retryable,
                message = message.Length <= LongestMessage ? message : message[..LongestMessage],
                lostRanks,
                attempt = progress?.Attempt,
                step = progress?.Step,
                totalSteps = progress?.TotalSteps,
                loss = progress?.Loss,
                lastCheckpointStep = progress?.LastCheckpointStep,
                lastCheckpointTime = progress?.LastCheckpointTime,
            }));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"the termination message could not be written: {e.Message}");
        }
    }
}
