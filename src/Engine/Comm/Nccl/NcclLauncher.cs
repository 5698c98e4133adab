using System.Collections.Concurrent;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>The thread that hands collectives to NCCL.</summary>
/// <remarks>NCCL takes one or two hundred microseconds for each on a communicator that does not block, and stage 3 has hundreds
/// of them in a step; here they pass beside the thread that trains. One thread for all groups of the process: the order in
/// which groups come to a GPU stays that of the program, the same on every rank, without which NCCL may deadlock ("NCCL user
/// guide, using multiple communicators concurrently").</remarks>
internal static class NcclLauncher
{
    private static readonly BlockingCollection<Action> Queue = [];

    static NcclLauncher() => new Thread(Run) { IsBackground = true, Name = "nccl launch" }.Start();

    /// <summary>Runs something behind all that was given before.</summary>
    /// <param name="launch">Must not throw, and must not wait for ever.</param>
    public static void Post(Action launch) => Queue.Add(launch);

    private static void Run()
    {
        foreach (Action launch in Queue.GetConsumingEnumerable())
        {
            launch();
        }
    }
}
