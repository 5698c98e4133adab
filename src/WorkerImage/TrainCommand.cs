using System.CommandLine;

namespace DeepSpeedSharp.Worker;

/// <summary>The options of <c>train</c>, in the words of Hugging Face's trainer where it has them.</summary>
internal static class TrainCommand
{
    public static Command Create(Func<TrainOptions, int> run)
    {
        var model = new Option<string>("--model", "--model_name_or_path") { DefaultValueFactory = _ => "gpt2", HelpName = "FOLDER|config.json|SIZE", Description = "Hugging Face folder with config.json and model.safetensors, a config.json for fresh weights, or a size for fresh weights: gpt2, gpt2-medium, gpt2-large, gpt2-xl" };
        var data = new Option<string>("--data") { Required = true, HelpName = "FILE|FOLDER", Description = "Tokens (.i32 int32, .u16 or .bin uint16, little-endian), or UTF-8 text: a file or a folder, read as bytes" };
        var format = new Option<string?>("--data-format", "--data_format") { HelpName = "i32|u16|bytes", Description = "Overrides what the file's extension says" };
        format.AcceptOnlyFromAmong("i32", "u16", "bytes");
        var config = new ConfigOptions();
        Option<int?> length = Positive("--sequence-length", "--sequence_length", "--block_size", "Tokens per sample (default: the model's positions, at most 1024)");
        var steps = new Option<long>("--max-steps", "--max_steps", "--steps") { DefaultValueFactory = _ => 1000, HelpName = "N", Description = "Optimizer steps to train" };
        steps.Validators.Add(r => { if (r.GetValueOrDefault<long>() < 1) { r.AddError("--max-steps must be at least 1"); } });
        var shuffle = new Option<bool>("--shuffle") { Description = "Read samples in another random order in each pass" };
        var recompute = new Option<bool>("--gradient-checkpointing", "--gradient_checkpointing") { Description = "Keep only each block's input, and compute the rest again in backward: less memory, a third more work" };
        var seed = new Option<long>("--seed") { DefaultValueFactory = _ => 42, HelpName = "N", Description = "Seed of fresh weights, dropout and --shuffle" };
        var fastInit = new Option<bool>("--fast-init", "--fast_init") { Description = "Make fresh weights on the GPU and in the type of training: large models start sooner, from rounded weights" };
        Option<int?> vocab = Positive("--vocab-size", "--vocab_size", null, "Vocabulary of fresh weights (default: 256 for text, else the model's)");
        Option<int?> layers = Positive("--n-layer", "--n_layer", null, "Layers of fresh weights");
        Option<int?> heads = Positive("--n-head", "--n_head", null, "Attention heads of fresh weights");
        Option<int?> embedding = Positive("--n-embd", "--n_embd", null, "Embedding size of fresh weights");
        var dropout = new Option<double?>("--dropout") { HelpName = "P", Description = "All dropout probabilities (default: the model's)" };
        dropout.Validators.Add(r => { if (r.GetValueOrDefault<double?>() is < 0 or >= 1) { r.AddError("--dropout must be at least 0 and below 1"); } });
        var checkpoints = new Option<string?>("--checkpoint-dir", "--output-dir", "--output_dir") { HelpName = "FOLDER", Description = "Where checkpoints go, and training resumes from (default: DSJ_CHECKPOINT_DIR; without either, none are kept)" };
        var saveSteps = new Option<int>("--save-steps", "--save_steps", "--save-interval") { DefaultValueFactory = _ => 500, HelpName = "N", Description = "Save every N steps; 0 saves only at the end" };
        saveSteps.Validators.Add(r => { if (r.GetValueOrDefault<int>() < 0) { r.AddError("--save-steps must be 0 or more"); } });
        Option<int?> limit = Positive("--save-total-limit", "--save_total_limit", null, "Keep only the newest N checkpoints (default: all)");
        var asyncSave = new Option<bool>("--async-save", "--async_save") { Description = "Copy the state to host memory and write it while training goes on, as checkpoint.writer.decoupled in the config does" };
        var metrics = new Option<string?>("--metrics-file", "--metrics_file") { HelpName = "FILE", Description = "One JSON object per step (default: metrics.jsonl in the folder of checkpoints)" };
        Option<int?> port = Positive("--metrics-port", "--metrics_port", null, "Port of /metrics, /progress and /healthz (default: DSJ_METRICS_PORT; without either, none)");

        var peak = new Option<double?>("--peak-tflops", "--peak_tflops") { HelpName = "N", Description = "Peak TFLOPS of one rank's device in the precision of training, for model flops utilization (default: that of known GPUs in bf16 and fp16)" };
        peak.Validators.Add(r => { if (r.GetValueOrDefault<double?>() is { } value && !(value > 0 && double.IsFinite(value))) { r.AddError("--peak-tflops must be above 0"); } });

        port.Validators.Add(r => { if (r.GetValueOrDefault<int?>() > 65535) { r.AddError("--metrics-port must be at most 65535"); } });

        var command = new Command("train", "Trains a causal language model (GPT-2) over all ranks of the environment.")
        {
            model, data, format, length, steps, shuffle, recompute, seed, fastInit, vocab, layers, heads, embedding, dropout, checkpoints,
            saveSteps, limit, asyncSave, metrics, port, peak,
        };
        var trainer = new TrainerOptions();
        trainer.AddTo(command);
        config.AddTo(command, Variable);
        command.SetAction(r => run(new TrainOptions
        {
            Model = r.GetValue(model)!,
            Data = r.GetValue(data)!,
            DataFormat = r.GetValue(format),
            ConfigPath = config.PathIn(r.GetValue) ?? Variable("DSJ_CONFIG")!,
            Arguments = trainer.Read(r, r.GetValue(steps)),
            SequenceLength = r.GetValue(length),
            MaxSteps = r.GetValue(steps),
            Shuffle = r.GetValue(shuffle),
            GradientCheckpointing = r.GetValue(recompute),
            Seed = r.GetValue(seed),
            FastInit = r.GetValue(fastInit),
            VocabSize = r.GetValue(vocab),
            Layers = r.GetValue(layers),
            Heads = r.GetValue(heads),
            Embedding = r.GetValue(embedding),
            Dropout = r.GetValue(dropout),
            CheckpointDirectory = r.GetValue(checkpoints) ?? Variable("DSJ_CHECKPOINT_DIR"),
            SaveSteps = r.GetValue(saveSteps),
            SaveTotalLimit = r.GetValue(limit),
            AsyncSave = r.GetValue(asyncSave),
            MetricsFile = r.GetValue(metrics),
            MetricsPort = r.GetValue(port) ?? (int.TryParse(Variable("DSJ_METRICS_PORT"), out int p) ? p : null),
            PeakTflops = r.GetValue(peak),
            MetricsPath = Variable("DSJ_METRICS_PATH") ?? "/metrics",
        }));
        return command;
    }

    private static Option<int?> Positive(string name, string alias, string? secondAlias, string description)
    {
        var option = new Option<int?>(name, secondAlias is null ? [alias] : [alias, secondAlias]) { HelpName = "N", Description = description };
        option.Validators.Add(r => { if (r.GetValueOrDefault<int?>() is < 1) { r.AddError($"{name} must be at least 1"); } });
        return option;
    }

    private static string? Variable(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
