using System.Diagnostics;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>A barrier that names all that are missing, not only the first one: rank 0 asks everyone.</summary>
internal static class RollCall
{
    /// <summary>Returns when all ranks have come.</summary>
    /// <param name="links">Links to all ranks.</param>
    /// <param name="timeout">How long rank 0 waits.</param>
    /// <param name="operation">For messages.</param>
    /// <exception cref="PeerLostException">Some did not come; on rank 0 all of them are named.</exception>
    public static unsafe void Run(Links links, TimeSpan timeout, object operation)
    {
        byte here = 1;
        var mark = new Block(&here, 1);
        if (links.Rank != 0)
        {
            links.Exchange(0, mark, 0, default, operation);
            links.Exchange(0, default, 0, mark, operation);
            return;
        }

        List<int> missing = [.. Enumerable.Range(1, links.WorldSize - 1)];
        long started = Stopwatch.GetTimestamp();
        while (missing.Count > 0)
        {
            missing.RemoveAll(rank => HasCome(links, rank));
            if (missing.Count > 0 && Stopwatch.GetElapsedTime(started) > timeout)
            {
                int[] ranks = [.. missing.Select(rank => links.Watch.Ranks[rank])];
                throw new PeerLostException(ranks[0], $"{operation}: {(ranks.Length == 1 ? "rank" : "ranks")} {string.Join(", ", ranks)} did not come within "
                    + $"{timeout.TotalSeconds:0.###} s; look at their logs")
                { Ranks = ranks };
            }

            links.Watch.ThrowIfAborted(operation);
            // Nothing rings for all links at once, and nobody needs this barrier to be fast.
            Thread.CurrentThread.Join(1);
        }

        for (int rank = 1; rank < links.WorldSize; rank++)
        {
            links.Exchange(rank, mark, rank, default, operation);
        }
    }

    private static bool HasCome(Links links, int rank)
    {
        byte mark = 0;
        return links.TryReceive(rank, new Span<byte>(ref mark)) == 1;
    }
}
