namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Training by real processes, against the losses of the original and against itself.</summary>
public sealed class LossCurveTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("worker-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("zero0_adam", 1e-4)]
    [InlineData("zero1_adamw_warmup_clip_gas2", 1e-4)]
    [InlineData("zero1_bf16", 5e-3)]
    [InlineData("zero2_adam_warmupdecay_gas4", 1e-4)]
    [InlineData("zero2_offload_cpuadam", 1e-4)]
    [InlineData("zero3_adamw_cosine_clip", 1e-4)]
    public void Train_TwoProcesses_ReproducesTheLossCurveOfTheOriginal(string curve, double tolerance)
    {
        LossCurve original = LossCurve.Read(curve);

        MetricsLine[] lines = Train(2, Write("ds.json", original.Config), original.Steps);

        original.AssertEqual(lines, tolerance);
    }

    [Theory]
    [InlineData(3, 4, 1, 0)]
    [InlineData(3, 2, 2, 0)]
    [InlineData(3, 4, 1, 1)]
    [InlineData(3, 2, 2, 2)]
    [InlineData(4, 1, 3, 2)]
    [InlineData(3, 2, 2, 3)]
    [InlineData(4, 3, 1, 3)]
    public void Train_ManyProcesses_EqualsOneProcessWithTheSameGlobalBatch(int ranks, int micro, int accumulation, int stage)
    {
        string Config(int microBatch, int steps, int zero) => Write($"ds{microBatch}.json", $$"""
            {"train_micro_batch_size_per_gpu": {{microBatch}}, "gradient_accumulation_steps": {{steps}}, "gradient_clipping": 0.5,
             "zero_optimization": {"stage": {{zero}}, "reduce_bucket_size": 20000, "overlap_comm": true},
             "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.1} },
             "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 5} } }
            """);

        MetricsLine[] many = Train(ranks, Config(micro, accumulation, stage), steps: 15);
        MetricsLine[] one = Train(1, Config(ranks * micro * accumulation, 1, 0), steps: 15);

        Assert.Equal(15, many.Length);
        foreach ((MetricsLine a, MetricsLine b) in many.Zip(one))
        {
            Assert.InRange(a.Loss, b.Loss * (1 - 1e-4), b.Loss * (1 + 1e-4));
            Assert.InRange(a.GradNorm, b.GradNorm * (1 - 1e-3), b.GradNorm * (1 + 1e-3));
            Assert.Equal(b.Lr, a.Lr);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("", 2)]
    [InlineData("", 3)]
    [InlineData("--shuffle --dropout 0.1 --model gpt2 --n-layer 2 --n-head 2 --n-embd 32 --vocab-size 512")]
    public void Resume_AfterSigkillAtARandomStep_RepeatsTheUninterruptedCurveToTheLastDigit(string options, int stage = 0)
    {
        string config = Write("ds.json", $$"""
            {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3} },
             "zero_optimization": {"stage": {{stage}} },
             "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 20} } }
            """);
        const int Steps = 40;
        MetricsLine[] uninterrupted = Train(2, config, Steps, options);
        string checkpoints = Path.Combine(_folder, "checkpoints");
        string metrics = Path.Combine(checkpoints, "metrics.jsonl");
        long killAt = Random.Shared.Next(5, 35);
        string arguments = Arguments(config, Steps, options) + $" --checkpoint-dir {checkpoints} --save-steps 4";

        RunningWorker[] first = RunningWorker.StartWorld(2, arguments);
        try
        {
            Poll.Until(() => File.Exists(metrics) && MetricsLine.Read(metrics) is [.., var last] && last.Step >= killAt,
                $"step {killAt}", () => first[0].Output);
            first[Random.Shared.Next(2)].Signal("KILL");
            int[] codes = [.. first.Select(w => w.Wait())];
            Assert.Contains(137, codes);
            Assert.Contains(69, codes); // the other one says that it lost its peer
        }
        finally
        {
            Array.ForEach(first, w => w.Dispose());
        }

        RunAll(RunningWorker.StartWorld(2, arguments));

        MetricsLine[] resumed = MetricsLine.Read(metrics);
        Assert.Equal(uninterrupted, resumed);
    }

    private MetricsLine[] Train(int ranks, string config, int steps, string options = "")
    {
        string metrics = Path.Combine(_folder, $"{Path.GetRandomFileName()}.jsonl");
        RunAll(RunningWorker.StartWorld(ranks, $"{Arguments(config, steps, options)} --metrics-file {metrics}"));
        return MetricsLine.Read(metrics);
    }

    private static string Arguments(string config, int steps, string options) =>
        $"train {(options.Contains("--model", StringComparison.Ordinal) ? "" : $"--model {LossCurve.Folder}")} "
        + $"--data {LossCurve.Tokens} --sequence-length {LossCurve.SequenceLength} --max-steps {steps} --deepspeed {config} {options}";

    private static void RunAll(RunningWorker[] workers)
    {
        try
        {
            foreach (RunningWorker worker in workers)
            {
                int code = worker.Wait();
                Assert.True(code == 0, $"exit code {code}:\n{worker.Output}");
            }
        }
        finally
        {
            Array.ForEach(workers, w => w.Dispose());
        }
    }

    private string Write(string name, string json)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllText(path, json);
        return path;
    }
}
