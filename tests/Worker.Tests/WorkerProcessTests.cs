using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>What the worker promises to whoever starts it: exit codes, signals, endpoints, messages.</summary>
public sealed class WorkerProcessTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("worker-tests-").FullName;
    private readonly string _config;

    public WorkerProcessTests()
    {
        _config = Path.Combine(_folder, "ds.json");
        File.WriteAllText(_config, """{"train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}""");
    }

    private string Checkpoints => Path.Combine(_folder, "checkpoints");

    private string Tiny => $"train --n-layer 1 --n-head 2 --n-embd 16 --vocab-size 512 --sequence-length 16 "
        + $"--data {LossCurve.Tokens} --deepspeed {_config}";

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Sigterm_InMidRun_SavesACheckpointOnAllRanksAndExits143(int ranks)
    {
        RunningWorker[] world = RunningWorker.StartWorld(ranks, $"{Tiny} --max-steps 1000000 --checkpoint-dir {Checkpoints}");
        try
        {
            Poll.Until(() => world[0].Output.Contains("step ", StringComparison.Ordinal), "the first step", () => world[0].Output);

            world[^1].Signal("TERM");

            Assert.All(world, w => Assert.Equal(143, w.Wait()));
            string tag = File.ReadAllText(Path.Combine(Checkpoints, "latest"));
            Assert.True(File.Exists(Path.Combine(Checkpoints, tag, "manifest.json")));
            Assert.Contains($"checkpoint of step {tag["global_step".Length..]} in {Checkpoints}", world[0].Output, StringComparison.Ordinal);
        }
        finally
        {
            Array.ForEach(world, w => w.Dispose());
        }
    }

    [Fact]
    public void Sigusr2_AndThenRankZeroKilled_WritesTheFlightRecorderAndNamesTheRank()
    {
        int port = TestPorts.Free();
        string dumps = Path.Combine(_folder, "dumps");
        RunningWorker[] world = [.. Enumerable.Range(0, 2).Select(rank => RunningWorker.Start(rank, 2, port, $"{Tiny} --max-steps 1000000",
            ("DEEPSPEED_FLIGHT_RECORDER_DIR", dumps)))];
        try
        {
            string dump = Path.Combine(dumps, "flight-recorder-rank-1.json");
            Poll.Until(() => world[0].Output.Contains("step ", StringComparison.Ordinal), "the first step", () => world[0].Output);
            world[1].Signal("USR2");
            Poll.Until(() => world[1].Output.Contains("on request: step ", StringComparison.Ordinal), "the dump", () => world[1].Output);
            using JsonDocument recorder = JsonDocument.Parse(File.ReadAllText(dump));

            world[0].Signal("KILL");

            Assert.Equal(69, world[1].Wait());
            Assert.Contains("lost rank 0 at 127.0.0.1", world[1].Output, StringComparison.Ordinal);
            Assert.True(recorder.RootElement.GetProperty("collectives").GetArrayLength() > 0);
        }
        finally
        {
            Array.ForEach(world, w => w.Dispose());
        }
    }

    [Fact]
    public void Sigterm_BeforeTheOthersCome_ExitsAtOnce()
    {
        using RunningWorker alone = RunningWorker.Start(0, 2, TestPorts.Free(), $"{Tiny} --max-steps 5");
        Poll.Until(() => IsListening(alone.Id), "the rendezvous", () => alone.Output);

        alone.Signal("TERM");

        Assert.Equal(143, alone.Wait());
    }

    [Fact]
    public void Node_WithTwoSlots_RunsOneProcessPerSlot()
    {
        string metrics = Path.Combine(_folder, "m.jsonl");
        using RunningWorker node = RunningWorker.Start($"{Tiny} --max-steps 5 --metrics-file {metrics}", ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"),
            ("NODE_RANK", "0"), ("NNODES", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", $"{TestPorts.Free()}"));

        Assert.Equal(0, node.Wait());
        Assert.Equal(5, MetricsLine.Read(metrics).Length);
        Assert.Contains("x 2 (ranks)", node.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Node_WithABadConfig_GivesTheExitCodeOfItsRanks()
    {
        File.WriteAllText(_config, "{}");
        using RunningWorker node = RunningWorker.Start($"{Tiny} --max-steps 5", ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", $"{TestPorts.Free()}"));

        Assert.Equal(78, node.Wait());
        Assert.Contains("train_batch_size", node.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Endpoints_WhileTraining_ServeMetricsProgressAndHealth()
    {
        int port = TestPorts.Free();
        using RunningWorker worker = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 1000000 --metrics-port {port} --checkpoint-dir {Checkpoints} --save-steps 5 --peak-tflops 0.5", ("DSJ_ATTEMPT", "3"), ("DSJ_METRICS_PATH", "/own/metrics"));
        Poll.Until(() => worker.Output.Contains("saved ", StringComparison.Ordinal), "the first checkpoint", () => worker.Output);
        using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };

        string metrics = await client.GetStringAsync("/own/metrics", TestContext.Current.CancellationToken);
        JsonElement progress = await client.GetFromJsonAsync<JsonElement>("/progress", TestContext.Current.CancellationToken);
        string health = await client.GetStringAsync("/healthz", TestContext.Current.CancellationToken);

        Assert.Matches(@"(?m)^deepspeed_step \d+$", metrics);
        Assert.Matches(@"(?m)^deepspeed_train_loss \d", metrics);
        Assert.Matches(@"(?m)^deepspeed_tokens_total \d", metrics);
        Assert.Matches(@"(?m)^deepspeed_samples_total \d", metrics);
        Assert.Matches(@"(?m)^deepspeed_overflow_steps_total 0$", metrics);
        Assert.Matches(@"(?m)^deepspeed_model_flops_utilization_ratio 0\.\d", metrics);
        Assert.Matches(@"(?m)^deepspeed_tokens_per_second [1-9]", metrics);
        Assert.DoesNotMatch(@"(?m)^deepspeed_loss_scale ", metrics); // in fp16 alone
        Assert.DoesNotMatch(@"(?m)^deepspeed_(gpu_memory|collective).*[ }]\d", metrics); // one rank, on the CPU
        Assert.True(progress.GetProperty("step").GetInt64() > 0);
        Assert.Equal(1_000_000, progress.GetProperty("totalSteps").GetInt64());
        Assert.True(progress.GetProperty("lastCheckpointStep").GetInt64() >= 5);
        Assert.Equal(3, progress.GetProperty("attempt").GetInt32());
        Assert.Equal("ok\n", health);
    }

    [Fact]
    public void Endpoints_TwoRanks_CountCollectivesByOperation()
    {
        int port = TestPorts.Free();
        RunningWorker[] world = RunningWorker.StartWorld(2, $"{Tiny} --max-steps 1000000 --metrics-port {port}");
        try
        {
            using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            string metrics = "";
            Poll.Until(() => world[0].HasExited || (metrics = Get()).Contains("deepspeed_step 5", StringComparison.Ordinal)
                || Regex.IsMatch(metrics, @"(?m)^deepspeed_step [1-9]\d+$"), "five steps", () => world[0].Output + metrics);

            Assert.Matches(@"(?m)^deepspeed_collectives_total\{op=""all_reduce""\} [1-9]", metrics);
            Assert.Matches(@"(?m)^deepspeed_collective_bytes_total\{op=""all_reduce""\} [1-9]\d{3}", metrics);
            Assert.Matches(@"(?m)^deepspeed_collective_seconds_total\{op=""all_reduce""\} \d", metrics);

            string Get()
            {
                try
                {
                    return client.GetStringAsync("/metrics", TestContext.Current.CancellationToken).GetAwaiter().GetResult();
                }
                catch (HttpRequestException)
                {
                    return ""; // not there yet
                }
            }
        }
        finally
        {
            Array.ForEach(world, w => w.Dispose());
        }
    }

    [Fact]
    public void Train_AfterTheLastStep_SaysThatThereIsNothingToDo()
    {
        string arguments = $"{Tiny} --max-steps 3 --checkpoint-dir {Checkpoints}";
        using RunningWorker first = RunningWorker.Start(0, 1, 1, arguments);
        Assert.Equal(0, first.Wait());

        using RunningWorker second = RunningWorker.Start(0, 1, 1, arguments);

        Assert.Equal(0, second.Wait());
        Assert.Contains("nothing to train: step 3 of 3 was reached before", second.Output, StringComparison.Ordinal);
        Assert.Equal(3, MetricsLine.Read(Path.Combine(Checkpoints, "metrics.jsonl")).Length);
    }

    [Fact]
    public void Train_KeepingTwoCheckpoints_DeletesOlderOnes()
    {
        using RunningWorker worker = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 12 --save-steps 2 --save-total-limit 2 --checkpoint-dir {Checkpoints}");

        Assert.Equal(0, worker.Wait());
        Assert.Equal(["global_step10", "global_step12"], Directory.GetDirectories(Checkpoints).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Train_EarlierAttempt_MayNotWriteAfterALaterOneBegan()
    {
        using RunningWorker later = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 2 --checkpoint-dir {Checkpoints}", ("DSJ_ATTEMPT", "5"), ("DSJ_JOB_UID", "a"));
        Assert.Equal(0, later.Wait());

        using RunningWorker earlier = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 4 --checkpoint-dir {Checkpoints}", ("DSJ_ATTEMPT", "4"), ("DSJ_JOB_UID", "a"));

        Assert.Equal(65, earlier.Wait());
        Assert.Contains("attempt 5 of job a has begun", earlier.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_JobAppliedAgainUnderTheSameName_GoesOnFromItsCheckpoint()
    {
        using RunningWorker deleted = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 2 --checkpoint-dir {Checkpoints}", ("DSJ_ATTEMPT", "5"), ("DSJ_JOB_UID", "a"));
        Assert.Equal(0, deleted.Wait());

        using RunningWorker again = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 4 --checkpoint-dir {Checkpoints}", ("DSJ_ATTEMPT", "1"), ("DSJ_JOB_UID", "b"));

        Assert.Equal(0, again.Wait());
        Assert.Contains("resuming after step 2", again.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("train --data x", 64, "no DeepSpeed config")]
    [InlineData("train --deepspeed --data x", 64, "no DeepSpeed config")]
    [InlineData("train --deepspeed {config} --deepspeed_config other.json --data x", 64, "are two configs; keep one of them")]
    [InlineData("train --deepspeed {config} --data {tokens} --local_rank=3", 64, "--local_rank 3 is not LOCAL_RANK")]
    [InlineData("--local_rank=0 train --deepspeed --deepspeed_config {config} --data /nowhere", 65, "no such file or folder")]
    [InlineData("train --deepspeed {config} --data {tokens} --max-stesp 3", 64, "--max-stesp")]
    [InlineData("train --deepspeed {config} --data {tokens} --max-steps 0", 64, "--max-steps must be at least 1")]
    [InlineData("train --deepspeed {config} --data /nowhere", 65, "no such file or folder")]
    [InlineData("train --deepspeed {config} --data {tokens} --data-format bytes", 65, "not UTF-8 text")]
    [InlineData("train --deepspeed {config} --data {tokens} --vocab-size 10 --sequence-length 16", 65, "the vocabulary has 10")]
    [InlineData("train --deepspeed {config} --data {config} --sequence-length 512", 65, "too few for one sample")]
    [InlineData("train --deepspeed /nowhere.json --data {tokens}", 78, "cannot be read")]
    [InlineData("train --deepspeed {config} --data {tokens} --model gtp2", 78, "did you mean gpt2?")]
    [InlineData("train --deepspeed {config} --data {tokens} --sequence-length 4096", 78, "1024 positions")]
    [InlineData("train --deepspeed {config} --data {tokens} --n-head 5", 78, "not a multiple of 5 heads")]
    public void Train_BadInput_ExitsWithTheRightCodeAndSaysWhy(string arguments, int code, string message)
    {
        string filled = arguments.Replace("{config}", _config, StringComparison.Ordinal)
            .Replace("{tokens}", LossCurve.Tokens, StringComparison.Ordinal);

        using RunningWorker worker = RunningWorker.Start(filled);

        Assert.Equal(code, worker.Wait());
        Assert.Contains(message, worker.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", worker.Output, StringComparison.Ordinal); // a message, not a stack trace
    }

    [Fact]
    public void Train_HalfSetEnvironment_NamesWhatIsMissing()
    {
        using RunningWorker worker = RunningWorker.Start($"{Tiny} --max-steps 1", ("RANK", "0"), ("WORLD_SIZE", "2"));

        Assert.Equal(78, worker.Wait());
        Assert.Contains("MASTER_ADDR", worker.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_SeveralProblemsInTheConfig_AreListedTogether()
    {
        File.WriteAllText(_config, """{"train_micro_batch_size_per_gpu": 0, "optimiser": {}, "bf16": {"enabled": 1}, "gradient_clipping": -1}""");

        using RunningWorker worker = RunningWorker.Start($"{Tiny} --max-steps 1");

        Assert.Equal(78, worker.Wait());
        Assert.All(["train_micro_batch_size_per_gpu", "did you mean \"optimizer\"?", "bf16.enabled", "gradient_clipping"],
            part => Assert.Contains(part, worker.Output, StringComparison.Ordinal));
    }

    [Fact]
    public void Train_AutoInTheConfig_IsFilledFromTheOptionsAndTheModel()
    {
        File.WriteAllText(_config, """
            {
              "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
              "gradient_clipping": "auto",
              "optimizer": { "type": "AdamW", "params": { "lr": "auto", "betas": "auto", "weight_decay": "auto" } },
              "scheduler": { "type": "WarmupLR", "params": { "warmup_max_lr": "auto", "warmup_num_steps": "auto" } },
              "bf16": { "enabled": "auto" }, "zero_optimization": { "stage": 0, "reduce_bucket_size": "auto" }
            }
            """);
        string metrics = Path.Combine(_folder, "m.jsonl");

        using RunningWorker worker = RunningWorker.Start(0, 1, 1, $"{Tiny} --max-steps 4 --metrics-file {metrics} "
            + "--per-device-train-batch-size 3 --gradient_accumulation_steps 2 --learning-rate 2e-3 --warmup-steps 2 --max-grad-norm 0.5");

        Assert.Equal(0, worker.Wait());
        Assert.Contains("batch 6 = 3 (micro batch) x 2 (accumulation) x 1 (ranks)", worker.Output, StringComparison.Ordinal);
        Assert.Equal(2e-3, JsonDocument.Parse(File.ReadLines(metrics).Last()).RootElement.GetProperty("lr").GetDouble(), 12);
    }

    [Fact]
    public void Train_OptionsThatContradictTheConfig_AreListedTogether()
    {
        using RunningWorker worker = RunningWorker.Start(0, 1, 1,
            $"{Tiny} --max-steps 4 --per-device-train-batch-size 3 --learning-rate 2e-3 --warmup-steps 5");

        Assert.Equal(78, worker.Wait());
        Assert.All(
        [
            "train_micro_batch_size_per_gpu: 2 contradicts the argument per_device_train_batch_size, which is 3",
            "optimizer.params.lr: 1e-3 contradicts the argument learning_rate, which is 0.002",
            "scheduler.params.warmup_num_steps: the argument warmup_steps is given, but nothing in this config takes it",
        ], part => Assert.Contains(part, worker.Output, StringComparison.Ordinal));
    }

    // The process has a listening socket: a line of state 0A whose inode is among its descriptors.
    private static bool IsListening(int process)
    {
        string[] sockets = Directory.Exists($"/proc/{process}/fd") ? [.. Directory.GetFiles($"/proc/{process}/fd")
            .Select(fd => new FileInfo(fd).LinkTarget ?? "").Where(t => t.StartsWith("socket:[", StringComparison.Ordinal)).Select(t => t[8..^1])] : [];
        return File.ReadLines("/proc/net/tcp").Skip(1).Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Any(c => c[3] == "0A" && sockets.Contains(c[9]));
    }
}
