using System.Numerics;
using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Collectives in about log2(N) steps: for small messages, whose time is that of the steps.</summary>
internal static class Trees
{
    /// <summary>Combines values over all ranks, in place, by recursive doubling.</summary>
    /// <remarks>
    /// In step k ranks whose numbers differ in bit k exchange all they have. Ranks beyond the largest power of two give their
    /// values to one of the others first, and get the result at the end. Both ranks of a pair combine in the same order, so all
    /// get the same bits. Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005, section 4.
    /// </remarks>
    /// <param name="peers">The ranks.</param>
    /// <param name="buffer">[n] values as bytes, the same n on every rank; holds the result afterwards.</param>
    /// <param name="type">Element type.</param>
    /// <param name="op">How values are combined; a mean is left a sum.</param>
    /// <param name="scratch">Memory.</param>
    /// <param name="operation">For messages.</param>
    public static void AllReduce(Peers peers, Block buffer, ScalarType type, ReduceOp op, Scratch scratch, object operation)
    {
        int power = 1 << BitOperations.Log2((uint)peers.Count);
        int rest = peers.Count - power;
        Block arrived = scratch.Take(buffer.Length);
        // The first 2 * rest ranks are pairs; the even one of a pair goes on for both.
        bool paired = peers.Rank < 2 * rest;
        if (paired && peers.Rank % 2 == 1)
        {
            peers.Send(peers.Rank - 1, buffer, operation);
            peers.Receive(peers.Rank - 1, buffer, operation);
            return;
        }

        if (paired)
        {
            peers.Receive(peers.Rank + 1, arrived, operation);
            Reduction.Combine(type, op, buffer.Span(), arrived.Span(), buffer.Span());
        }

        int number = paired ? peers.Rank / 2 : peers.Rank - rest;
        for (int bit = 1; bit < power; bit <<= 1)
        {
            int other = number ^ bit;
            int partner = other < rest ? other * 2 : other + rest;
            peers.Exchange(partner, buffer, partner, arrived, operation);
            bool lower = other < number;
            Reduction.Combine(type, op, lower ? arrived.Span() : buffer.Span(), lower ? buffer.Span() : arrived.Span(), buffer.Span());
        }

        if (paired)
        {
            peers.Send(peers.Rank + 1, buffer, operation);
        }
    }

    /// <summary>Copies one rank's bytes to all ranks: in each step those that have them double.</summary>
    public static void Broadcast(Peers peers, Block buffer, int root, object operation)
    {
        int number = (peers.Rank - root + peers.Count) % peers.Count;
        for (int have = 1; have < peers.Count; have <<= 1)
        {
            if (number < have && number + have < peers.Count)
            {
                peers.Send((number + have + root) % peers.Count, buffer, operation);
            }
            else if (number >= have && number < 2 * have)
            {
                peers.Receive((number - have + root) % peers.Count, buffer, operation);
            }
        }
    }

    /// <summary>Combines values over all ranks at one of them, and uses the others' buffers for partial results.</summary>
    public static void Reduce(Peers peers, Block buffer, int root, ScalarType type, ReduceOp op, Scratch scratch, object operation)
    {
        int number = (peers.Rank - root + peers.Count) % peers.Count;
        Block arrived = scratch.Take(buffer.Length);
        for (int bit = 1; bit < peers.Count; bit <<= 1)
        {
            if ((number & bit) != 0)
            {
                peers.Send((number - bit + root) % peers.Count, buffer, operation);
                return;
            }

            if (number + bit < peers.Count)
            {
                peers.Receive((number + bit + root) % peers.Count, arrived, operation);
                Reduction.Combine(type, op, buffer.Span(), arrived.Span(), buffer.Span());
            }
        }
    }

    /// <summary>Returns when all ranks have come, by dissemination: in step k each rank tells the one 2^k further on.</summary>
    /// <remarks>Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", 1988.</remarks>
    public static unsafe void Barrier(Peers peers, object operation)
    {
        byte here = 1, there = 0;
        for (int distance = 1; distance < peers.Count; distance <<= 1)
        {
            peers.Exchange((peers.Rank + distance) % peers.Count, new Block(&here, 1),
                (peers.Rank - distance + peers.Count) % peers.Count, new Block(&there, 1), operation);
        }
    }
}
