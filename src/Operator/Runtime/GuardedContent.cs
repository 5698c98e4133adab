using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>The body of a write, which asks once more whether the write is still allowed when its first byte is about to leave.</summary>
/// <remarks>
/// A request may wait for long between the decision to send it and that moment: for its turn under the rate limit, for a server
/// that asked for patience, for a connection, or because the whole process was stopped meanwhile and another replica leads now.
/// Every write of the operator has a body, deletions too.
/// </remarks>
internal sealed class GuardedContent : HttpContent
{
    private readonly byte[] _bytes;
    private readonly string _what;
    private readonly Func<bool>? _mayWrite;

    /// <summary>Creates the body.</summary>
    /// <param name="text">The body.</param>
    /// <param name="contentType">Its type.</param>
    /// <param name="what">Verb and path, for the message.</param>
    /// <param name="mayWrite">Whether this process may change anything now; null when it always may.</param>
    public GuardedContent(string text, string contentType, string what, Func<bool>? mayWrite)
    {
        (_bytes, _what, _mayWrite) = (Encoding.UTF8.GetBytes(text), what, mayWrite);
        Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
    }

    /// <summary>Throws unless the write is allowed at this moment.</summary>
    /// <exception cref="LeadershipLostException">It is not.</exception>
    public void Check()
    {
        if (_mayWrite?.Invoke() == false)
        {
            throw new LeadershipLostException($"{_what} was not sent: this process does not lead any more");
        }
    }

    /// <inheritdoc/>
    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    /// <inheritdoc/>
    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        Check();
        await stream.WriteAsync(_bytes, cancellationToken);
    }

    /// <inheritdoc/>
    protected override bool TryComputeLength(out long length)
    {
        length = _bytes.Length;
        return true;
    }
}
