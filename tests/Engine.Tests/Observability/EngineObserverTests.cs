using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Observability;
using Microsoft.Extensions.Time.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class EngineObserverTests : IDisposable
{
    private static readonly BatchPlan Batch = new(TrainBatchSize: 16, MicroBatchSize: 4, GradientAccumulationSteps: 2, WorldSize: 2);
    private readonly FakeTimeProvider _clock = new();
    private readonly List<string> _lines = [];
    private readonly List<string> _warnings = [];
    private readonly ToyModel _model = new();

    public void Dispose() => _model.Dispose();

    private EngineObserver? Create(DeepSpeedConfig config, int rank = 0, bool showsProgress = true) =>
        EngineObserver.Create(config, _model, CPU, rank, Batch, new ObserverOutput(_lines.Add, _warnings.Add, showsProgress), _clock);

    private static StepMetrics Metrics(long step) => new()
    {
        Step = step,
        Loss = 0.5,
        LearningRates = [1e-3, 1e-4],
        Momentum = [[0.9, 0.999], [0.8, 0.99]],
        GradientNorm = 2,
        GlobalSamples = 16 * step,
    };

    // Steps as the engine makes them, each reported in the middle of the next one, as it does on a GPU: forward 10 ms, autograd 20, reduction 5 at the boundary, update 3.
    private void Train(EngineObserver observer, long firstStep, int steps)
    {
        using DisposeScope scope = NewDisposeScope();
        for (long step = firstStep; step < firstStep + steps; step++)
        {
            for (int micro = 0; micro < Batch.GradientAccumulationSteps; micro++)
            {
                bool isBoundary = micro == Batch.GradientAccumulationSteps - 1;
                observer.BeforeForward(step - 1);
                Tensor loss = _model.call(zeros(4, 3), zeros(4, 3));
                _clock.Advance(TimeSpan.FromMilliseconds(10));
                observer.AfterForward();
                observer.BeforeBackward();
                loss.backward();
                _clock.Advance(TimeSpan.FromMilliseconds(20));
                if (isBoundary)
                {
                    if (step > firstStep)
                    {
                        observer.Report(Metrics(step - 1));
                    }

                    observer.BeforeReduce();
                    _clock.Advance(TimeSpan.FromMilliseconds(5));
                    observer.AfterReduce();
                }

                observer.AfterBackward();
                observer.BeforeStep();
                _clock.Advance(TimeSpan.FromMilliseconds(isBoundary ? 3 : 0));
                observer.AfterStep(isBoundary);
            }
        }

        observer.Report(Metrics(firstStep + steps - 1));
    }

    [Fact]
    public void Create_NothingSwitchedOnOrAnotherRank_GivesNone()
    {
        DeepSpeedConfig all = new() { StepsPerPrint = 1, WallClockBreakdown = true, MemoryBreakdown = true };

        Assert.Null(Create(new DeepSpeedConfig()));
        Assert.Null(Create(all, rank: 1));
        Assert.Null(Create(new DeepSpeedConfig { StepsPerPrint = 1 }, showsProgress: false));
        Assert.NotNull(Create(all));
    }

    [Fact]
    public void Report_StepsPerPrint_ShowsProgressAndThroughputAfterTheWarmup()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig { StepsPerPrint = 2 })!;

        Train(observer, 1, 5);

        Assert.Equal(
        [
            "step=2, skipped=0, lr=[0.001, 0.0001], mom=[[0.9, 0.999], [0.8, 0.99]], loss=0.5000, grad_norm=2.0000",
            "step=4, skipped=0, lr=[0.001, 0.0001], mom=[[0.9, 0.999], [0.8, 0.99]], loss=0.5000, grad_norm=2.0000",
            "step=4, RunningAvgSamplesPerSec=235.29, CurrSamplesPerSec=235.29",
        ], _lines); // 16 samples in 68 ms
    }

    [Fact]
    public void Report_TimersOff_ShowsNoThroughput()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig
        {
            StepsPerPrint = 1,
            Timers = new() { Throughput = new() { Enabled = false } },
        })!;

        Train(observer, 1, 4);

        Assert.Equal(4, _lines.Count);
    }

    [Fact]
    public void Report_WallClockBreakdown_ShowsEachPhaseOfAStep()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig { WallClockBreakdown = true }, showsProgress: false)!;

        Train(observer, 1, EngineObserver.DefaultStepsPerPrint);

        Assert.Equal(["time (ms) | forward: 20.00 | backward: 45.00 | backward_inner: 40.00 | backward_allreduce: 5.00 | step: 3.00"], _lines);
    }

    [Fact]
    public void Report_MemoryBreakdown_ShowsProcessHeapAndTensorsAndNoGpuWhereThereIsNone()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig { MemoryBreakdown = true, StepsPerPrint = 1 }, showsProgress: false)!;

        Train(observer, 1, 1);

        Assert.Matches(new Regex(@"^memory \| resident: \d+\.\d\d GB \| managed heap: \d+\.\d\d GB \| live tensors: [1-9]\d*$"), Assert.Single(_lines));
    }

    [Fact]
    public void CudaMemory_MachineWithoutGpu_IsNotKnown()
    {
        Assert.SkipWhen(cuda.is_available(), "this machine has a GPU");

        Assert.Null(CudaMemory.Read(0));
        Assert.Null(CudaMemory.Read(-1));
    }

    [Fact]
    public void Report_FlopsProfiler_ShowsTheStepAfterProfileStepOnceWithItsTimes()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig { FlopsProfiler = new() { Enabled = true, RecomputeFwdFactor = 1 } })!;

        Train(observer, 1, 1);
        Assert.Empty(_lines);
        Train(observer, 2, 3);

        string text = Assert.Single(_lines);
        Assert.StartsWith("flops profile of step 2 on rank 0: micro batch 4, accumulation 2, world size 2", text, StringComparison.Ordinal);
        Assert.Matches(@"forward MACs of a micro batch +120\n", text);
        Assert.Matches(@"forward flops of a micro batch +240\n", text); // 4 x (3 x 5 + 5 x 3) x 2: tanh is a function, not a module
        Assert.Matches(@"flops of a step on a rank +1\.9k  \(3 \+ 1\) x forward x 2\n", text);
        Assert.Matches(@"forward +20\.00 ms", text);
        Assert.Matches(@"backward, with reduction +45\.00 ms", text);
        Assert.Matches(@"optimizer step +3\.00 ms\n", text);
        Assert.Matches(@"samples per second, all ranks +235\.29", text);
        Assert.Matches(@"  first +Linear +20 +60 +120 +50\.0", text);
    }

    [Fact]
    public void Report_FlopsProfilerOptions_AreHonoured()
    {
        string file = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName(), "profile.txt");
        try
        {
            using EngineObserver observer = Create(new DeepSpeedConfig
            {
                FlopsProfiler = new() { Enabled = true, ProfileStep = 3, Detailed = false, ModuleDepth = 0, OutputFile = file },
            })!;

            Train(observer, 1, 4);

            string text = File.ReadAllText(file);
            Assert.Equal($"flops profile of step 4 in {file}", Assert.Single(_lines));
            Assert.DoesNotContain("time %", text, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"\n  1 ", text);
            Assert.Matches(@"\n  0 +ToyModel 38 ", text);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);
        }
    }

    [Fact]
    public void AfterForward_ForwardThrew_LeavesNoHooksBehind()
    {
        using EngineObserver observer = Create(new DeepSpeedConfig { FlopsProfiler = new() { Enabled = true } })!;
        using DisposeScope scope = NewDisposeScope();

        observer.BeforeForward(1);
        Assert.ThrowsAny<Exception>(() => _model.call(zeros(4, 7), zeros(4, 3)));
        observer.AfterForward();
        _clock.Advance(TimeSpan.FromSeconds(1));
        Train(observer, 2, 1);

        Assert.Single(_lines);
    }
}
