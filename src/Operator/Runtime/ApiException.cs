using System.Net;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>The API server answered a request with an error.</summary>
/// <param name="code">HTTP status.</param>
/// <param name="reason">Reason of the server's Status object, for example AlreadyExists.</param>
/// <param name="message">What the server said, with the request.</param>
internal sealed class ApiException(HttpStatusCode code, string? reason, string message) : Exception(message)
{
    /// <summary>HTTP status.</summary>
    public HttpStatusCode Code { get; } = code;

    /// <summary>Reason of the server's Status object.</summary>
    public string? Reason { get; } = reason;

    /// <summary>The object changed since it was read.</summary>
    public bool IsConflict => Code == HttpStatusCode.Conflict && Reason != "AlreadyExists";

    /// <summary>An object of that name exists.</summary>
    public bool IsAlreadyExists => Code == HttpStatusCode.Conflict && Reason == "AlreadyExists";

    /// <summary>The version asked for is no longer kept.</summary>
    public bool IsGone => Code == HttpStatusCode.Gone;

    /// <summary>What the server said, without the request.</summary>
    public string ServerMessage { get; private init; } = message;

    /// <summary>Reads the server's Status object.</summary>
    /// <param name="code">HTTP status, or that of an ERROR event.</param>
    /// <param name="body">The Status object, or any text.</param>
    /// <param name="request">What was asked, for the message.</param>
    public static ApiException From(HttpStatusCode code, string body, string request)
    {
        (string? reason, string? message) = (null, null);
        try
        {
            using JsonDocument document = JsonDocument.Parse(body);
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                reason = Text(document.RootElement, "reason");
                message = Text(document.RootElement, "message");
            }
        }
        catch (JsonException)
        {
            // Proxies answer with HTML; the status code has to be enough.
        }

        message ??= body.Length is > 0 and < 300 ? body : code.ToString();
        return new ApiException(code, reason, $"{request}: HTTP {(int)code}: {message}") { ServerMessage = message };

        static string? Text(JsonElement status, string name) =>
            status.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
    }
}

/// <summary>This process was the leader and may be no longer; it ends, so that nothing of it goes on by mistake.</summary>
/// <param name="message">Why.</param>
internal sealed class LeadershipLostException(string message) : Exception(message);
