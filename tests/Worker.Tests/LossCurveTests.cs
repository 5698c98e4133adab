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

    // Each number of ranks, stage and place of the optimizer at least once; DEEPSPEED_TEST_MATRIX=1 runs all of them together.
    public static TheoryData<int, int, bool> Layouts()
    {
        var data = new TheoryData<int, int, bool>();
        bool all = Environment.GetEnvironmentVariable("DEEPSPEED_TEST_MATRIX") == "1";
        for (int ranks = 1; ranks <= 4; ranks++)
        {
            for (int stage = 0; stage <= 3; stage++)
            {
                foreach (bool offload in (bool[])[false, true])
                {
                    bool isSome = offload ? (ranks, stage) is (1, 1) or (2, 3) or (3, 2) or (4, 3) : (ranks, stage) is (3, 0 or 1 or 3) or (4, 2) or (2, 3);
                    if (all ? stage > 0 || (ranks > 1 && !offload) : isSome)
                    {
                        data.Add(ranks, stage, offload);
                    }
                }
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Train_ManyProcesses_EqualsOneProcessWithTheSameGlobalBatch(int ranks, int stage, bool offload)
    {
        string cpu = """, "offload_optimizer": {"device": "cpu"}""" + (stage == 3 ? """, "offload_param": {"device": "cpu"}""" : "");
        string Config(int microBatch, int steps, int zero, bool isOffloaded) => Write($"ds{microBatch}.json", $$"""
            {"train_micro_batch_size_per_gpu": {{microBatch}}, "gradient_accumulation_steps": {{steps}}, "gradient_clipping": 0.5,
             "zero_optimization": {"stage": {{zero}}, "reduce_bucket_size": 20000, "overlap_comm": true,
                 "stage3_param_persistence_threshold": 100 {{(isOffloaded ? cpu : "")}} },
             "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.1} },
             "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 5} } }
            """);
        const int Rows = 24, Accumulation = 2;
        MetricsLine[] many = Train(ranks, Config(Rows / Accumulation / ranks, Accumulation, stage, offload), steps: 15);
        MetricsLine[] one = Train(1, Config(Rows, 1, 0, false), steps: 15);

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
    [InlineData("", 3, true)]
    [InlineData("--shuffle --dropout 0.1 --model gpt2 --n-layer 2 --n-head 2 --n-embd 32 --vocab-size 512")]
    public void Resume_AfterSigkillAtARandomStep_RepeatsTheUninterruptedCurveToTheLastDigit(string options, int stage = 0, bool isOnDisk = false)
    {
        string swap = Path.Combine(_folder, "swap");
        string offload = isOnDisk ? $$""", "sub_group_size": 2000, "offload_optimizer": {"device": "nvme", "nvme_path": "{{swap}}"} """ : "";
        string config = Write("ds.json", $$"""
            {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3} },
             "zero_optimization": {"stage": {{stage}} {{offload}} },
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
        if (isOnDisk)
        {
            Assert.Empty(Directory.GetFileSystemEntries(swap)); // also what the killed rank left
        }
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
