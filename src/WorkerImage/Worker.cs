using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Worker;

/// <summary>Runs what this process is: one rank, or the parent of a node's ranks; and turns failures into exit codes.</summary>
internal static class Worker
{
    public static int Run(IReadOnlyList<string> args, TrainOptions options)
    {
        string who = "this process";
        try
        {
            WorkerEnvironment environment = WorkerEnvironment.Read(Environment.GetEnvironmentVariable);
            who = environment.Rank is { } rank ? $"rank {rank}" : $"node {environment.NodeRank}";
            return environment.Rank is null
                ? NodeProcesses.Run(args, environment)
                : new TrainingRun(options, environment).Run();
        }
        catch (Exception e) when (Explain(e) is { } failure)
        {
            Console.Error.WriteLine($"{who}: {failure.Kind}: {e.Message}");
            TerminationMessage.Write(failure.Kind, failure.Retryable, $"{who}: {e.Message}");
            return failure.Code;
        }
    }

    // The three kinds of failures: the user corrects it, a restart helps, or it is our defect.
    private static (string Kind, bool Retryable, int Code)? Explain(Exception e) => e switch
    {
        ConfigException => ("configuration", false, ExitCodes.Configuration),
        CheckpointException { IsPassing: true } => ("storage", true, ExitCodes.Temporary),
        DataException or CheckpointException => ("bad data", false, ExitCodes.BadData),
        UnauthorizedAccessException => ("storage", false, ExitCodes.BadData),
        IOException => ("storage", true, ExitCodes.Temporary),
        PeerLostException => ("peer lost", true, ExitCodes.PeerLost),
        NativeBackendException => ("native backend", false, ExitCodes.Configuration),
        LossScaleException => ("fp16", false, ExitCodes.Configuration), // the next attempt would come to the same step
        AggregateException { InnerExceptions: [var inner] } => Explain(inner),
        _ => null,
    };
}
