using System.Diagnostics;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker;

/// <summary>A node with several slots: one process per slot, which live and end together.</summary>
internal static class NodeProcesses
{
    private static readonly TimeSpan EndTimeout = TimeSpan.FromMinutes(10);

    /// <summary>Starts the ranks of this node and waits for them.</summary>
    /// <returns>0 when all ended well; else the exit code of the first that did not.</returns>
    public static int Run(IReadOnlyList<string> args, WorkerEnvironment environment)
    {
        var ended = new TaskCompletionSource<(int LocalRank, int Code)>(TaskCreationOptions.RunContinuationsAsynchronously);
        Process[] ranks = [.. Enumerable.Range(0, environment.LocalWorldSize).Select(i => Start(args, environment.ForSlot(i)))];
        StopSignals.Handle(_ => Forward());
        int left = ranks.Length;
        for (int i = 0; i < ranks.Length; i++)
        {
            _ = ReportEndAsync(i);
        }

        (int LocalRank, int Code) first = ended.Task.GetAwaiter().GetResult();
        if (first.Code != 0)
        {
            Console.Error.WriteLine($"node {environment.NodeRank}: rank {environment.ForSlot(first.LocalRank).Rank} ended "
                + $"with exit code {first.Code}; ending the other ranks of this node");
            Forward();
            foreach (Process rank in ranks)
            {
                if (!rank.WaitForExit(EndTimeout))
                {
                    rank.Kill(entireProcessTree: true);
                }
            }
        }

        return first.Code;

        async Task ReportEndAsync(int localRank)
        {
            await ranks[localRank].WaitForExitAsync().ConfigureAwait(false);
            int code = ranks[localRank].ExitCode;
            if (code != 0 || Interlocked.Decrement(ref left) == 0)
            {
                ended.TrySetResult((localRank, code));
            }
        }

        void Forward()
        {
            foreach (Process rank in ranks.Where(r => !r.HasExited))
            {
                _ = Signals.Terminate(rank.Id);
            }
        }
    }

    private static Process Start(IReadOnlyList<string> args, WorkerEnvironment environment)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { UseShellExecute = false };
        // Run by `dotnet deepspeed-worker.dll`, the program itself is the first argument.
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
        }

        foreach (string argument in args)
        {
            start.ArgumentList.Add(argument);
        }

        foreach ((string name, string value) in environment.ToVariables())
        {
            start.Environment[name] = value;
        }

        start.Environment[Signals.ParentVariable] = Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture);
        return Process.Start(start)!;
    }
}
