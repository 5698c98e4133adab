using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Worker;

/// <summary>Runs what this process is: one rank, or the parent of a node's ranks; and turns failures into exit codes.</summary>
internal static class Worker
{
    public static int Run(IReadOnlyList<string> args, TrainOptions options) => RunRank(environment => environment.Rank is null
        ? NodeProcesses.Run(args, environment) : new TrainingRun(options, environment).Run());

    /// <summary>Runs something as this process's rank.</summary>
    /// <param name="run">What to do; returns the exit code.</param>
    public static int RunRank(Func<WorkerEnvironment, int> run)
    {
        string who = "this process";
        try
        {
            WorkerEnvironment environment = WorkerEnvironment.Read(Environment.GetEnvironmentVariable);
            who = environment.Rank is { } rank ? $"rank {rank}" : $"node {environment.NodeRank}";
            return run(environment);
        }
        catch (Exception e) when (Explain(e) is { } failure)
        {
            Console.Error.WriteLine($"{who}: {failure.Kind}: {e.Message}");
            TerminationMessage.Write(failure.Kind, failure.Retryable, $"{who}: {e.Message}",
                lostRanks: (e as PeerLostException ?? e.InnerException as PeerLostException)?.Ranks);
            return failure.Code;
        }
    }

    // The three kinds of failures: the user corrects it, a restart helps, or it is our defect. The codes of the engine's
    // own exceptions are the same for every program.
    private static (string Kind, bool Retryable, int Code)? Explain(Exception e)
    {
        if (e is AggregateException { InnerExceptions: [var inner] })
        {
            return Explain(inner);
        }

        int? code = FailureExit.CodeOf(e) ?? (e switch
        {
            DataException or UnauthorizedAccessException => ExitCodes.BadData,
            IOException => ExitCodes.Temporary,
            _ => (int?)null,
        });
        string kind = e switch
        {
            ConfigException => "configuration",
            NativeBackendException => "native backend",
            LossScaleException => "fp16", // the next attempt would come to the same step
            PeerLostException => "peer lost",
            DataException or CheckpointException { IsPassing: false } => "bad data",
            _ => "storage",
        };
        return code is { } known ? (kind, known is ExitCodes.Temporary or ExitCodes.PeerLost, known) : null;
    }
}
