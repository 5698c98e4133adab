using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>All ranks of a run, and the collectives between them.</summary>
/// <remarks>
/// Every rank must call every collective, in the same order. Collectives run one after the other in that order on a
/// thread of their own, so an asynchronous one overlaps with computation. After one has failed all later ones fail.
/// </remarks>
public sealed class ProcessGroup : IDisposable
{
    // A tensor is handed over in pieces that a memory block can hold (2 GiB).
    private const long LargestPiece = 1 << 28;

    private readonly ITransport? _transport;
    private readonly Lock _order = new();
    private Task _last = Task.CompletedTask;

    internal ProcessGroup(WorkerEnvironment environment, ITransport? transport)
    {
        (Environment, _transport) = (environment, transport);
    }

    /// <summary>Where this process stands.</summary>
    public WorkerEnvironment Environment { get; }

    /// <summary>Index of this process.</summary>
    public int Rank => Environment.Rank!.Value;

    /// <summary>Number of processes.</summary>
    public int WorldSize => Environment.WorldSize;

    /// <summary>Sums a tensor over all ranks, in place.</summary>
    /// <param name="tensor">Contiguous fp32, fp16 or bf16, the same number of elements on every rank. A CUDA tensor is copied to
    /// host memory and back.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllReduce(Tensor tensor, string name = "tensor") => AllReduceAsync(tensor, name).Wait();

    /// <summary>Starts summing a tensor over all ranks, in place.</summary>
    /// <param name="tensor">As for <see cref="AllReduce"/>; not to be touched or disposed until the task has ended.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the sum is read.</returns>
    public Work AllReduceAsync(Tensor tensor, string name = "tensor")
    {
        _ = Summable(tensor, "AllReduce", name);
        return _transport is null ? Work.Done : new Work(InTurnAsync(() => ReduceNowAsync(tensor, name)));
    }

    /// <summary>Starts summing a tensor over all ranks, in place, each part of it at its owner only.</summary>
    /// <param name="tensor">As for <see cref="AllReduceAsync"/>. Afterwards this rank's range holds the sum, and what
    /// other ranks own is of no use.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the sum is read.</returns>
    internal Work ReduceScatterAsync(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name)
    {
        torch.ScalarType type = Summable(tensor, "ReduceScatter", name);
        if (_transport is null)
        {
            return Work.Done;
        }

        string operation = $"ReduceScatter of {name} ({tensor.numel() * Summation.BytesOf(type) / 1048576.0:0.0} MiB)";
        return new Work(InTurnAsync(() => OnHost(tensor, host => InRounds(host, ranges, LargestPiece,
            chunks => Ring.ReduceScatterAsync(_transport, chunks, type, operation)))));
    }

    /// <summary>Gives every rank the parts of a tensor that the ranks own.</summary>
    /// <param name="tensor">Contiguous, of any type, the same number of elements on every rank.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    internal void AllGather(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name, long bucketElements = long.MaxValue) =>
        AllGatherAsync(tensor, ranges, name, bucketElements).Wait();

    /// <summary>Starts giving every rank the parts of a tensor that the ranks own.</summary>
    /// <param name="tensor">As for <see cref="AllGather(Tensor, IReadOnlyList{ElementRange}, string, long)"/>.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    /// <returns>Wait for it before the tensor is read.</returns>
    internal Work AllGatherAsync(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name, long bucketElements = long.MaxValue)
    {
        if (_transport is null)
        {
            return Work.Done;
        }

        long round = Math.Clamp(bucketElements / WorldSize, 1, LargestPiece);
        return new Work(InTurnAsync(() => OnHost(tensor, host => InRounds(host, ranges, round,
            chunks => Ring.AllGatherAsync(_transport, chunks, $"AllGather of {name}")))));
    }

    /// <summary>Starts gathering bytes of all ranks.</summary>
    /// <param name="mine">This rank's bytes; the length may differ between ranks.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>The bytes of each rank; faults with <see cref="PeerLostException"/>.</returns>
    internal Task<byte[][]> AllGatherAsync(byte[] mine, string name)
    {
        if (_transport is null)
        {
            return Task.FromResult<byte[][]>([mine]);
        }

        byte[][] result = [];
        Task done = InTurnAsync(async () => result = await GatherNowAsync(mine, name).ConfigureAwait(false));
        return Result();

        async Task<byte[][]> Result()
        {
            await done.ConfigureAwait(false);
            return result;
        }
    }

    /// <summary>Runs several collectives as one: no other comes between them, on any rank.</summary>
    /// <remarks>A collective that is started when another has ended would take its place in the order by chance, and
    /// another one on each rank.</remarks>
    /// <param name="collectives">Calls <see cref="GatherNowAsync"/> and <see cref="ReduceNowAsync"/> only, the same ones on every rank.</param>
    /// <returns>Ends with them; faults with <see cref="PeerLostException"/>.</returns>
    internal Task InTurnAsync(Func<Task> collectives)
    {
        lock (_order)
        {
            Task previous = _last;
            return _last = Task.Run(async () =>
            {
                await previous.ConfigureAwait(false);
                try
                {
                    await collectives().ConfigureAwait(false);
                }
                catch (PeerLostException)
                {
                    // Closing our links at once tells the neighbours, which tell theirs: nobody waits for a timeout.
                    _transport!.Dispose();
                    throw;
                }
            });
        }
    }

    /// <summary>Gathers bytes of all ranks; within <see cref="InTurnAsync"/>.</summary>
    internal async Task<byte[][]> GatherNowAsync(byte[] mine, string name)
    {
        byte[][] lengths = await GatherAsync(BitConverter.GetBytes(mine.Length), sizeof(int)).ConfigureAwait(false);
        int[] counts = [.. lengths.Select(bytes => BitConverter.ToInt32(bytes))];
        byte[][] blocks = await GatherAsync(mine, counts.Max()).ConfigureAwait(false);
        return [.. blocks.Select((block, rank) => block[..counts[rank]])];

        async Task<byte[][]> GatherAsync(byte[] block, int length)
        {
            byte[][] all = [.. Enumerable.Range(0, WorldSize).Select(_ => new byte[length])];
            block.CopyTo(all[Rank], 0);
            await Ring.AllGatherAsync(_transport!, [.. all.Select(b => b.AsMemory())], $"AllGather of {name}").ConfigureAwait(false);
            return all;
        }
    }

    /// <summary>Sums a tensor over all ranks, in place; within <see cref="InTurnAsync"/>.</summary>
    internal Task ReduceNowAsync(Tensor tensor, string name)
    {
        torch.ScalarType type = tensor.dtype;
        string operation = $"AllReduce of {name} ({tensor.numel() * Summation.BytesOf(type) / 1048576.0:0.0} MiB)";
        return OnHost(tensor, host => InPieces(host, bytes => Ring.AllReduceAsync(_transport!, bytes, type, operation)));
    }

    /// <summary>Copies one rank's tensor to all ranks.</summary>
    /// <param name="tensor">Contiguous; the same shape and type on every rank.</param>
    /// <param name="root">The rank whose values are copied.</param>
    /// <param name="name">What is copied, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Broadcast(Tensor tensor, int root = 0, string name = "tensor")
    {
        if (_transport is not null && tensor.numel() > 0)
        {
            Wait(InTurnAsync(() => OnHost(tensor, host => InPieces(host, bytes => Ring.BroadcastAsync(_transport, bytes, root, $"Broadcast of {name}")))));
        }
    }

    /// <summary>Gives every rank a text of each rank.</summary>
    /// <param name="text">This rank's text.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>The texts, by rank.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public IReadOnlyList<string> AllGather(string text, string name = "text")
    {
        byte[][] texts = AllGatherAsync(Encoding.UTF8.GetBytes(text), name).GetAwaiter().GetResult();
        return [.. texts.Select(bytes => Encoding.UTF8.GetString(bytes))];
    }

    /// <summary>Returns when every rank has called it.</summary>
    /// <param name="name">What is waited for, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Barrier(string name) => AllGather("", name);

    /// <summary>Closes the links; other ranks that still wait for this one see it as lost.</summary>
    public void Dispose() => _transport?.Dispose();

    private static torch.ScalarType Summable(Tensor tensor, string collective, string name) => Summation.Supports(tensor.dtype)
        ? tensor.dtype
        : throw new ArgumentException($"{collective} of {name}: the element type is {tensor.dtype}; only Float32, Float16 and "
            + "BFloat16 can be summed over ranks", nameof(tensor));

    private static async Task OnHost(Tensor tensor, Func<Tensor, Task> operation)
    {
        if (tensor.device_type == DeviceType.CPU)
        {
            await operation(tensor).ConfigureAwait(false);
            return;
        }

        using Tensor staged = tensor.cpu().DetachFromDisposeScope();
        await operation(staged).ConfigureAwait(false);
        tensor.copy_(staged).DetachFromDisposeScope();
    }

    // Every rank's range is cut into pieces of the same length; a round takes one of each.
    private static async Task InRounds(
        Tensor tensor, IReadOnlyList<ElementRange> ranges, long roundElements, Func<IReadOnlyList<Memory<byte>>, Task> operation)
    {
        using Tensor flat = tensor.view(tensor.numel()).DetachFromDisposeScope();
        long longest = ranges.Max(range => range.Length);
        for (long start = 0; start < longest; start += roundElements)
        {
            Tensor[] pieces = [.. ranges.Select(range =>
            {
                long from = Math.Min(start, range.Length);
                return flat.narrow(0, range.Start + from, Math.Min(roundElements, range.Length - from)).DetachFromDisposeScope();
            })];
            try
            {
                await operation([.. pieces.Select(TensorMemory.Bytes)]).ConfigureAwait(false);
            }
            finally
            {
                Array.ForEach(pieces, piece => piece.Dispose());
            }
        }
    }

    private static async Task InPieces(Tensor tensor, Func<Memory<byte>, Task> operation)
    {
        long elements = tensor.numel();
        using Tensor flat = tensor.view(elements).DetachFromDisposeScope();
        for (long start = 0; start < elements; start += LargestPiece)
        {
            using Tensor piece = flat.narrow(0, start, Math.Min(LargestPiece, elements - start)).DetachFromDisposeScope();
            await operation(TensorMemory.Bytes(piece)).ConfigureAwait(false);
        }
    }

    private static void Wait(Task task) => task.GetAwaiter().GetResult();
}
