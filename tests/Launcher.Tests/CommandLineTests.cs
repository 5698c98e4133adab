using System.Text.Json;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class CommandLineTests
{
    [Theory]
    [InlineData("there is no option --bad", "run", "job.yaml", "--bad")]
    [InlineData("there is no option --bad", "run", "--bad")]
    [InlineData("did you mean --run-dir?", "run", "job.yaml", "--rundir", "x")]
    [InlineData("did you mean run?", "runn")]
    [InlineData("--world-size 0 is not a number of ranks", "config", "check", "a.json", "--world-size", "0")]
    [InlineData("--world-size many is not a number of ranks", "config", "check", "a.json", "--world-size", "many")]
    [InlineData("--world-size", "config", "check", "a.json")]
    [InlineData("deepspeed: see `deepspeed run --help`", "run")]
    [InlineData("config needs one of its commands: check, schedule", "config")]
    [InlineData("OUTPUT is missing: Folder to write", "checkpoint", "consolidate", "a")]
    [InlineData("Must be one of: 'bash' 'zsh' 'fish'", "completion", "tcsh")]
    [InlineData("there is no option -v; options of the program", "-v")]
    [InlineData("see `deepspeed --help`")]
    public async Task Deepspeed_WrongCommandLine_ExitsWithUsage(string expected, params string[] args)
    {
        using var folder = new JobFolder();

        (int exitCode, string text) = await LauncherProcess.RunAsync(folder.Path, args);

        Assert.Equal(64, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Start again after a failure", "help")]
    [InlineData("Start again after a failure", "--num_gpus", "2", "--help")]
    [InlineData("deepspeed config check <FILE>", "help", "config", "check")]
    public async Task Deepspeed_AskedForHelp_Explains(string expected, params string[] args)
    {
        using var folder = new JobFolder();

        (int exitCode, string text) = await LauncherProcess.RunAsync(folder.Path, args);

        Assert.Equal(0, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConfigCheck_ValidConfig_PrintsATable()
    {
        using var folder = new JobFolder();
        folder.Write("a.json", """
            {
              "train_batch_size": 32, "train_micro_batch_size_per_gpu": 4, "steps_per_print": 10,
              "optimizer": { "type": "AdamW", "params": { "lr": 3e-4, "weight_decay": 0.01 } },
              "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 100, "warmup_type": "linear" } }
            }
            """);

        (int exitCode, string text) = await CheckAsync(folder, "a.json", 2);

        Assert.Equal(0, exitCode);
        Assert.Equal("""
            a.json is valid for 2 ranks
              batch      train batch 32 = micro batch 4 x accumulation 4 x 2 ranks
              optimizer  AdamW: lr 0.0003, betas 0.9 and 0.999, eps 1e-8, weight decay 0.01 (decoupled)
              schedule   WarmupLR: 0 to 0.0003 in 100 steps, linear
              clipping   global gradient norm at most 1
              zero       stage 0, buckets of 500,000,000 elements
              precision  fp32
              progress   every 10 steps

            """, text, ignoreLineEndingDifferences: true);
    }

    [Fact]
    public async Task ConfigCheck_BadConfig_ListsEveryProblem()
    {
        using var folder = new JobFolder();
        folder.Write("a.json", """{ "train_batch_size": 30, "train_micro_batch_size_per_gpu": 4, "gradient_cliping": 1 }""");

        (int exitCode, string text) = await CheckAsync(folder, "a.json", 4);

        Assert.Equal(78, exitCode);
        Assert.Equal("""
            a.json has 2 problems, checked for 4 ranks:
              gradient_cliping
                there is no such key
                -> did you mean "gradient_clipping"?
              train_batch_size
                30 is not a multiple of 4 (micro batch) x 4 (ranks) = 16
                -> use 16 or 32, or another number of ranks

            """, text, ignoreLineEndingDifferences: true);
    }

    [Fact]
    public async Task ConfigCheck_BeyondTheEngine_IsValidAndSaysWhatStopsTraining()
    {
        using var folder = new JobFolder();
        folder.Write("a.json", """
            {
              "train_micro_batch_size_per_gpu": 4, "gradient_clipping": 0, "vocabulary_size": 50257,
              "optimizer": { "type": "Adam", "params": { "lr": "auto", "adam_w_mode": false, "weight_decay": 0.1 } },
              "zero_optimization": { "stage": 3, "offload_optimizer": { "device": "cpu", "super_offload": true } }
            }
            """);

        (int exitCode, string text) = await CheckAsync(folder, "a.json", 1);

        Assert.Equal(0, exitCode);
        Assert.Equal("""
            a.json is valid for 1 rank
              batch      train batch 4 = micro batch 4 x accumulation 1 x 1 rank
              optimizer  Adam: lr 0.001, betas 0.9 and 0.999, eps 1e-8, weight decay 0.1 (L2)
              schedule   constant learning rate
              clipping   off
              zero       stage 3, buckets of 500,000,000 elements, reduced while backward runs, optimizer in host memory
              precision  fp32
              progress   about every two seconds
              hint       a vocabulary of 50257 is slow on GPUs; 50264 is the next multiple of 8
            "auto" is for the trainer's arguments to fill; until then these show their defaults:
              optimizer.params.lr
            the engine of this release cannot train with it, because of:
              zero_optimization.offload_optimizer.super_offload
                SuperOffload, for a GPU and a CPU that share one memory, is not supported
                -> remove it; "device": "cpu" overlaps the copies with the update

            """, text);
    }

    [Fact]
    public async Task ConfigCheck_Json_IsForPrograms()
    {
        using var folder = new JobFolder();
        folder.Write("good.json", """{ "train_batch_size": 8 }""");
        folder.Write("bad.json", """{ "train_batch_size": 9 }""");

        (int good, string valid) = await CheckAsync(folder, "good.json", 2, "--json");
        (int bad, string invalid) = await CheckAsync(folder, "bad.json", 2, "--json");
        (int missing, string absent) = await CheckAsync(folder, "none.json", 2, "--json");

        Assert.Equal((0, 78, 78), (good, bad, missing));
        Assert.Equal(4, JsonDocument.Parse(valid).RootElement.GetProperty("train_micro_batch_size_per_gpu").GetInt32());
        Assert.Equal("train_batch_size", FirstError(invalid, "path"));
        Assert.Contains("the file cannot be read", FirstError(absent, "problem"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConfigCheck_WithParameters_EstimatesTheMemoryOfARank()
    {
        using var folder = new JobFolder();
        folder.Write("a.json", """
            { "train_micro_batch_size_per_gpu": 1, "bf16": { "enabled": true }, "zero_optimization": { "stage": 2, "reduce_bucket_size": 1e8 } }
            """);

        (int code, string text) = await CheckAsync(folder, "a.json", 64, "--parameters", "7.5B");
        (_, string json) = await CheckAsync(folder, "a.json", 64, "--parameters", "7500M", "--json");
        (int wrong, string refusal) = await CheckAsync(folder, "a.json", 64, "--parameters", "seven");

        Assert.Equal((0, 64), (code, wrong));
        Assert.Contains("memory of each of 64 ranks for 7,500,000,000 parameters", text, StringComparison.Ordinal);
        Assert.Contains("model states  16.6 GB = 15.0 GB weights", text, StringComparison.Ordinal);
        Assert.Equal(16_640_625_000, JsonDocument.Parse(json).RootElement.GetProperty("memory").GetProperty("model_state_bytes").GetInt64(), 100.0);
        Assert.Contains("--parameters seven is not a number of parameters", refusal, StringComparison.Ordinal);
    }

    private static Task<(int ExitCode, string Text)> CheckAsync(
        JobFolder folder, string file, int worldSize, params string[] options) =>
        LauncherProcess.RunAsync(folder.Path, ["config", "check", file, "--world-size", $"{worldSize}", .. options]);

    private static string FirstError(string json, string property) =>
        JsonDocument.Parse(json).RootElement.GetProperty("errors")[0].GetProperty(property).GetString()!;
}
