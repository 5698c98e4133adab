using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What our worker leaves in its termination message; other programs leave the end of their log there.</summary>
/// <param name="Kind">Kind of the failure.</param>
/// <param name="IsRetryable">Whether the program thinks that trying again helps.</param>
/// <param name="Message">What happened.</param>
internal sealed record WorkerMessage(string? Kind, bool? IsRetryable, string? Message)
{
    /// <summary>Ranks that were lost, as the ranks agreed; empty when that is unknown or another kind of failure.</summary>
    public IReadOnlyList<int> LostRanks { get; init; } = [];

    /// <summary>Reads a termination message; plain text becomes the message.</summary>
    public static WorkerMessage Parse(string? text)
    {
        string trimmed = (text ?? "").Trim();
        if (trimmed.StartsWith('{'))
        {
            try
            {
                using JsonDocument document = JsonDocument.Parse(trimmed);
                JsonElement root = document.RootElement;
                bool? retryable = root.Get("retryable").ValueKind switch
                {
                    JsonValueKind.True => true,
                    JsonValueKind.False => false,
                    _ => null,
                };
                return new WorkerMessage(root.Text("kind"), retryable, root.Text("message"))
                {
                    LostRanks = root.Get("lostRanks") is { ValueKind: JsonValueKind.Array } ranks
                        ? [.. ranks.EnumerateArray().Where(r => r.ValueKind == JsonValueKind.Number && r.TryGetInt32(out _)).Select(r => r.GetInt32())] : [],
                };
            }
            catch (JsonException)
            {
                // A cut message, or another program's: shown as it is.
            }
        }

        return new WorkerMessage(null, null, trimmed.Length == 0 ? null : trimmed);
    }
}
