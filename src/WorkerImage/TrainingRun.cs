using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Worker.Gpt2;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker;

/// <summary>One rank of a training run, from the first tensor to the exit code.</summary>
internal sealed class TrainingRun(TrainOptions options, WorkerEnvironment environment)
{
    private readonly TimeProvider _clock = TimeProvider.System;
    private DeepSpeedEngine? _engine;
    private volatile bool _stopping;

    private bool Speaks => environment.Rank == 0;

    /// <summary>Trains to the last step, or until SIGTERM.</summary>
    /// <returns>The exit code.</returns>
    public int Run()
    {
        Signals.EndWithParent();
        StopSignals.Handle(Stop);

        // Everything that can be wrong on this rank alone is found before the others are asked to wait for it.
        Gpt2Source source = Gpt2Source.From(options);
        DeepSpeedConfig config = DeepSpeedConfig.Load(options.ConfigPath, options.Arguments with
        {
            HiddenSize = source.Config.Embedding,
            WorldSize = environment.WorldSize,
        });
        EngineLimits.ThrowIfAny(config, options.ConfigPath);
        BatchPlan batch = BatchPlan.Resolve(config.Batch, environment.WorldSize);
        TorchRuntime.Load();
        Device device = DeepSpeed.LocalDevice(environment);
        int length = options.SequenceLength ?? Math.Min(source.Config.Positions, 1024);
        if (length > source.Config.Positions)
        {
            throw new ConfigException("the command line", [new ConfigError("--sequence-length",
                $"{length} is more than the model's {source.Config.Positions} positions", "use a smaller one")]);
        }

        using TokenData data = TokenData.Open(options.Data, options.DataFormat, length, device);
        Gpt2Config shape = source.ShapeFor(data.VocabSize);
        data.CheckAgainst = shape.VocabSize;

        using ProcessGroup group = DeepSpeed.InitDistributed(environment);
        manual_seed(options.Seed);
        var model = new Gpt2Model(shape)
        {
            Checkpointing = ActivationPlan.From(config.ActivationCheckpointing, options.GradientCheckpointing, shape.Layers),
        };
        source.LoadWeights(model);
        Action<string> print = Console.WriteLine;
        (DeepSpeedEngine engine, _, DataLoader<TokenBatch>? loader, _) = DeepSpeed.Initialize(
            model, config, data, group, device, printsProgress: false, print: text => print(text),
            sampler: new ContinuousSampler(data.Count, batch.MicroBatchSize, group.Rank, group.WorldSize, options.Shuffle ? options.Seed : null));
        using (_engine = engine)
        {
            Seed(options.Seed + environment.Rank!.Value, device); // dropout differs between ranks
            model.train();
            string? resumed = Resume(engine);
            using var report = new RunReport(options, config, environment, engine,
                new Workload(length, shape.FlopsPerToken(length)), _clock);
            print = report.Say; // the engine's lines, between those of the progress
            report.Begin($"{source.Description}, {engine.ParameterCount:#,0} parameters, "
                + $"{data.Count:#,0} samples of {length} tokens", EngineReport.For(engine), resumed);
            return Train(engine, model, loader!, report);
        }
    }

    private int Train(DeepSpeedEngine engine, Gpt2Model model, DataLoader<TokenBatch> loader, RunReport report)
    {
        if (_stopping)
        {
            engine.RequestStop();
        }

        long savedStep = engine.GlobalSteps;
        StepResult? unread = null;
        bool stops = false;
        report.BeginStep();
        while (engine.GlobalSteps < options.MaxSteps && !stops)
        {
            StepResult step = TakeStep(engine, model, loader);
            stops = Read(ref unread, report);
            unread = step;
            bool isDue = options.SaveSteps > 0 && step.Step % options.SaveSteps == 0;
            if (step.IsReady || stops || isDue || step.Step >= options.MaxSteps)
            {
                stops |= Read(ref unread, report);
            }

            if (isDue || stops || step.Step >= options.MaxSteps)
            {
                Save(report);
                savedStep = step.Step;
                report.BeginStep();
            }
        }

        if (stops && engine.GlobalSteps < options.MaxSteps)
        {
            report.End($"stopped at step {engine.GlobalSteps} of {options.MaxSteps}", savedStep);
            LastWord("terminated", retryable: true, $"stopped at step {engine.GlobalSteps}", report);
            return ExitCodes.Terminated;
        }

        report.End(!report.HasTrained
            ? $"nothing to train: step {savedStep} of {options.MaxSteps} was reached before" : "done", savedStep);
        LastWord("done", retryable: false, "training is done", report);
        return ExitCodes.Done;
    }

    private static StepResult TakeStep(DeepSpeedEngine engine, Gpt2Model model, DataLoader<TokenBatch> loader)
    {
        StepResult? step = null;
        while (step is null)
        {
            using TokenBatch batch = loader.Next();
            using Tensor loss = engine.Forward(() => model.call(batch.Inputs, batch.Targets));
            engine.Backward(loss);
            step = engine.Step();
        }

        return step;
    }

    // A GPU is asked for the numbers of a step while it works on the next one, so it never waits for us.
    private static bool Read(ref StepResult? unread, RunReport report)
    {
        if (unread is null)
        {
            return false;
        }

        StepMetrics metrics = unread.Metrics;
        unread = null;
        report.EndStep(metrics);
        return metrics.StopRequested;
    }

    // One word a node is enough, and the first rank's has the progress.
    private void LastWord(string kind, bool retryable, string message, RunReport report)
    {
        if (environment.LocalRank == 0)
        {
            TerminationMessage.Write(kind, retryable, message, report.Progress);
        }
    }

    private string? Resume(DeepSpeedEngine engine)
    {
        if (options.CheckpointDirectory is not { } directory)
        {
            return null;
        }

        if (Speaks)
        {
            AttemptLease.Take(directory);
        }

        return engine.LoadCheckpoint(directory).Path;
    }

    private void Save(RunReport report)
    {
        if (options.CheckpointDirectory is not { } directory)
        {
            return;
        }

        long start = _clock.GetTimestamp();
        string path = _engine!.SaveCheckpoint(directory);
        if (Speaks && options.SaveTotalLimit is { } limit)
        {
            KeepOnly(directory, limit);
        }

        report.Saved(path, _clock.GetElapsedTime(start));
    }

    private static void KeepOnly(string directory, int count)
    {
        try
        {
            CheckpointRotation.Keep(directory, count);
        }
        catch (IOException e)
        {
            Console.Error.WriteLine($"an old checkpoint could not be removed: {e.Message}");
        }
    }

    // Before training has begun there is nothing to save; from then on all ranks stop together at the end of a step.
    private void Stop(PosixSignal signal)
    {
        if (_stopping && signal == PosixSignal.SIGTERM)
        {
            return; // SIGTERM may come from several sides; whoever cannot wait for the checkpoint sends SIGKILL
        }

        if (_stopping || _engine is null)
        {
            Console.Error.WriteLine($"rank {environment.Rank}: ended by {signal}"
                + (_stopping ? " for the second time" : " before training began"));
            Environment.Exit(ExitCodes.Terminated);
        }

        _stopping = true;
        Console.Error.WriteLine($"rank {environment.Rank}: {signal}: stopping after this step"
            + (options.CheckpointDirectory is null ? "" : ", with a checkpoint"));
        _engine.RequestStop();
    }

    // torch.manual_seed leaves the GPU's numbers alone.
    private static void Seed(long seed, Device device)
    {
        manual_seed(seed);
        if (device.type == DeviceType.CUDA)
        {
            cuda.manual_seed_all(seed);
        }
    }
}
