using System.Net.Sockets;
using System.Text.Json;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>What a rank says to its neighbour on the ring: a length and a JSON text.</summary>
internal static class RendezvousMessages
{
    private const string Protocol = "deepspeedsharp/1";
    private const int LongestHello = 4096;
    private static readonly TimeSpan HelloTimeout = TimeSpan.FromSeconds(5);

    /// <summary>What a rank says when it comes.</summary>
    public sealed record Hello(string Protocol, string RunId, int Rank, int WorldSize, int Port)
    {
        public static Hello From(WorkerEnvironment environment, int port) =>
            new(RendezvousMessages.Protocol, environment.RunId, environment.Rank!.Value, environment.WorldSize, port);
    }

    public static async Task SendAsync<T>(Socket socket, T message, CancellationToken cancel)
    {
        byte[] text = JsonSerializer.SerializeToUtf8Bytes(message);
        byte[] packet = [.. BitConverter.GetBytes(text.Length), .. text];
        for (int sent = 0; sent < packet.Length;)
        {
            sent += await socket.SendAsync(packet.AsMemory(sent), SocketFlags.None, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Reads a hello; null when the other side is something else, or silent for five seconds.</summary>
    public static async Task<Hello?> ReadHelloAsync(Socket socket, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(HelloTimeout);
        try
        {
            Hello? hello = await ReadAsync<Hello>(socket, LongestHello, limit.Token).ConfigureAwait(false);
            return hello?.Protocol == Protocol ? hello : null;
        }
        catch (Exception e) when (e is SocketException or IOException or JsonException
            || (e is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            return null;
        }
    }

    private static async Task<T?> ReadAsync<T>(Socket socket, int longest, CancellationToken cancel)
    {
        var header = new byte[sizeof(int)];
        await ReceiveAsync(socket, header, cancel).ConfigureAwait(false);
        int length = BitConverter.ToInt32(header);
        if (length <= 0 || length > longest)
        {
            throw new IOException($"a message of {length} bytes");
        }

        var text = new byte[length];
        await ReceiveAsync(socket, text, cancel).ConfigureAwait(false);
        return JsonSerializer.Deserialize<T>(text);
    }

    private static async Task ReceiveAsync(Socket socket, Memory<byte> bytes, CancellationToken cancel)
    {
        for (int received = 0; received < bytes.Length;)
        {
            int count = await socket.ReceiveAsync(bytes[received..], SocketFlags.None, cancel).ConfigureAwait(false);
            if (count == 0)
            {
                throw new IOException("the connection was closed");
            }

            received += count;
        }
    }
}
