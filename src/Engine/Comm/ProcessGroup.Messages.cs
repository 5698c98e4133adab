using System.Text;

namespace DeepSpeedSharp.Engine.Comm;

// Sends and receives, barriers, bytes and texts.
public sealed partial class ProcessGroup
{
    /// <summary>Sends a tensor to one rank; returns when the tensor may be changed again.</summary>
    /// <param name="tensor">Contiguous.</param>
    /// <param name="destination">Another rank of the group.</param>
    /// <param name="tag">Tells messages to the same rank apart; not negative. NCCL knows none: only 0 for a CUDA tensor there.</param>
    /// <param name="name">What is sent, for messages.</param>
    /// <exception cref="PeerLostException">The other rank ended or hangs.</exception>
    public void Send(Tensor tensor, int destination, int tag = 0, string name = "tensor") => Send(tensor, destination, tag, name, true).Wait();

    /// <summary>Starts sending a tensor to one rank (<c>isend</c>); the arguments are those of <see cref="Send(Tensor, int, int, string)"/>.</summary>
    public Work SendAsync(Tensor tensor, int destination, int tag = 0, string name = "tensor") => Send(tensor, destination, tag, name, false);

    /// <summary>Receives a tensor from one rank.</summary>
    /// <param name="tensor">Contiguous, of the sender's type and number of elements.</param>
    /// <param name="source">Another rank of the group.</param>
    /// <param name="tag">The sender's.</param>
    /// <param name="name">What is received, for messages.</param>
    /// <exception cref="PeerLostException">The other rank ended or hangs.</exception>
    /// <exception cref="CollectiveMismatchException">The sender's tensor has another type or size.</exception>
    public void Receive(Tensor tensor, int source, int tag = 0, string name = "tensor") => Receive(tensor, source, tag, name, true).Wait();

    /// <summary>Starts receiving a tensor from one rank (<c>irecv</c>); the arguments are those of <see cref="Receive(Tensor, int, int, string)"/>.</summary>
    public Work ReceiveAsync(Tensor tensor, int source, int tag = 0, string name = "tensor") => Receive(tensor, source, tag, name, false);

    /// <summary>Returns when every rank has called it.</summary>
    /// <param name="name">What is waited for, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Barrier(string name = "barrier") => Run(new Collective(CollectiveKind.Barrier, name));

    /// <summary>Starts a barrier.</summary>
    /// <param name="name">What is waited for, for messages.</param>
    /// <returns>Ends when every rank has called it.</returns>
    public Work BarrierAsync(string name = "barrier") => Begin(new Collective(CollectiveKind.Barrier, name));

    /// <summary>A barrier that finds out who is missing: rank 0 of the group waits for each of the others.</summary>
    /// <param name="timeout">How long to wait; null takes the group's timeout.</param>
    /// <param name="name">What is waited for, for messages.</param>
    /// <exception cref="PeerLostException">On rank 0 it names all ranks that did not come. The group cannot be used afterwards.</exception>
    public void MonitoredBarrier(TimeSpan? timeout = null, string name = "monitored barrier") => _host.MonitoredBarrier(timeout, name);

    /// <summary>Gives every rank the bytes of each rank (<c>all_gather_object</c>).</summary>
    /// <param name="bytes">This rank's; lengths may differ between ranks.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>The bytes, by rank of the group.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public IReadOnlyList<byte[]> AllGather(byte[] bytes, string name = "bytes") => _host.Gather(bytes, name);

    /// <summary>Gives every rank a text of each rank.</summary>
    /// <param name="text">This rank's text.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>The texts, by rank of the group.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public IReadOnlyList<string> AllGather(string text, string name = "text") =>
        [.. AllGather(Encoding.UTF8.GetBytes(text), name).Select(bytes => Encoding.UTF8.GetString(bytes))];

    /// <summary>Gives every rank one rank's bytes (<c>broadcast_object_list</c>).</summary>
    /// <param name="bytes">The root's; ignored elsewhere.</param>
    /// <param name="root">The rank of the group that gives.</param>
    /// <param name="name">What is copied, for messages.</param>
    /// <returns>The root's bytes.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public byte[] Broadcast(byte[]? bytes, int root = 0, string name = "bytes")
    {
        if (Member(root) == Rank)
        {
            ArgumentNullException.ThrowIfNull(bytes);
        }

        return _host.Broadcast(bytes ?? [], root, name);
    }

    /// <summary>Gives every rank one rank's text.</summary>
    /// <param name="text">The root's; ignored elsewhere.</param>
    /// <param name="root">The rank of the group that gives.</param>
    /// <param name="name">What is copied, for messages.</param>
    /// <returns>The root's text.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public string Broadcast(string? text, int root = 0, string name = "text") =>
        Encoding.UTF8.GetString(Broadcast(text is null ? null : Encoding.UTF8.GetBytes(text), root, name));

    /// <summary>Starts gathering bytes of all ranks.</summary>
    /// <param name="mine">This rank's bytes; the length may differ between ranks.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>The bytes of each rank; faults with <see cref="PeerLostException"/>.</returns>
    internal Task<byte[][]> AllGatherAsync(byte[] mine, string name) => _host.GatherAsync(mine, name);

    private Work Send(Tensor tensor, int peer, int tag, string name, bool now)
    {
        CheckMessage(tensor, peer, tag, name);
        return Logged("send", name, tensor.numel() * tensor.element_size(), tensor.device,
            () => BackendOf(tensor.device).Send(Piece.Of(tensor), peer, tag, name, now));
    }

    private Work Receive(Tensor tensor, int peer, int tag, string name, bool now)
    {
        CheckMessage(tensor, peer, tag, name);
        return Logged("recv", name, tensor.numel() * tensor.element_size(), tensor.device,
            () => BackendOf(tensor.device).Receive(Piece.Of(tensor), peer, tag, name, now));
    }

    private void CheckMessage(Tensor tensor, int peer, int tag, string name)
    {
        TensorChecks.Contiguous(tensor, name);
        ArgumentOutOfRangeException.ThrowIfNegative(tag);
        if (Member(peer) == Rank)
        {
            throw new ArgumentException($"{name}: rank {Rank} sends to or receives from itself; copy the tensor instead");
        }
    }
}
