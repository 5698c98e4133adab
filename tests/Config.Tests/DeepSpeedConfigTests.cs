namespace DeepSpeedSharp.Config.Tests;

public sealed class DeepSpeedConfigTests
{
    [Fact]
    public void Parse_Empty_GivesDeepSpeedsDefaults()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("{}");

        Assert.Equal(1.0, config.GradientClipping);
        Assert.Equal(0, config.Zero.Stage);
        Assert.Equal(500_000_000, config.Zero.ReduceBucketSize);
        Assert.Null(config.StepsPerPrint);
        Assert.Null(config.Optimizer);
        Assert.Null(config.Scheduler);
    }

    [Fact]
    public void Parse_EverySection_IsRead()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            {
              // Comments and trailing commas are welcome.
              "train_batch_size": 16,
              "gradient_clipping": 0.5,
              "steps_per_print": 10,
              "optimizer": { "type": "Adam", "params": {
                "lr": 3e-4, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1, "bias_correction": false,
                "adam_w_mode": false } },
              "scheduler": { "type": "WarmupLR", "params": {
                "warmup_min_lr": 1e-5, "warmup_max_lr": 1e-3, "warmup_num_steps": 2e2, "warmup_type": "linear" } },
              "zero_optimization": { "stage": 0.0, "reduce_bucket_size": 5e7 },
              "fp16": { "enabled": false, "loss_scale": 0 },
            }
            """);

        AdamConfig adam = config.Optimizer!.Params;
        Assert.Equal((16, 0.5, 10), (config.Batch.TrainBatchSize!.Value, config.GradientClipping, config.StepsPerPrint!.Value));
        Assert.Equal(("Adam", 3e-4, 1e-6, 0.1), (config.Optimizer.Type, adam.LearningRate, adam.Epsilon, adam.WeightDecay));
        Assert.Equal([0.8, 0.99], adam.Betas);
        Assert.Equal((false, false), (adam.BiasCorrection, adam.AdamWMode));
        Assert.Equal(new WarmupConfig { MinLearningRate = 1e-5, MaxLearningRate = 1e-3, Steps = 200, Type = "linear" },
            config.Scheduler!.Params);
        Assert.Equal(50_000_000, config.Zero.ReduceBucketSize);
    }

    [Fact]
    public void Parse_ManyProblems_ReportsAllAtOnce()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse("""
            {
              "train_batch_size": 0,
              "gradient_clipping": -1,
              "steps_per_print": 1.5,
              "optimizer": { "type": "AdamW", "params": { "lr": "fast", "betas": [0.9] } },
              "scheduler": { "type": "WarmupLR", "params": { "warmup_type": "cubic" } },
              "zero_optimization": { "stage": 2 },
              "bf16": { "enabled": true },
              "wandb": {},
              "train_micro_batch_size": 4
            }
            """, "ds_config.json"));

        Assert.Equal(
        [
            "train_batch_size", "steps_per_print", "gradient_clipping", "optimizer.params.lr", "optimizer.params.betas",
            "scheduler.params.warmup_type", "zero_optimization.stage", "bf16.enabled", "wandb", "train_micro_batch_size",
        ], error.Errors.Select(e => e.Path));
        Assert.StartsWith("ds_config.json has 10 problems:", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    // Whole numbers, as DeepSpeed's files write them.
    [InlineData("""{ "train_batch_size": "8" }""", "train_batch_size: \"8\" is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "train_batch_size": 1e12 }""", "train_batch_size: 1e12 is out of range; use a value from 1 to 2147483647")]
    [InlineData("""{ "train_batch_size": -4 }""", "train_batch_size: -4 is out of range; use 1 or more")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": 0.5 } }""", "zero_optimization.reduce_bucket_size: 0.5 is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": "5e8" } }""", "zero_optimization.reduce_bucket_size: \"5e8\" is not a whole number; use a whole number of at least 1")]
    // "auto" is the caller's to replace.
    [InlineData("""{ "train_batch_size": "auto" }""", "train_batch_size: \"auto\" is not supported yet; write the value")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "lr": "auto" } } }""", "optimizer.params.lr: \"auto\" is not supported yet; write the value")]
    // Names: planned ones, slips, and inventions.
    [InlineData("""{ "elasticity": {} }""", "elasticity: this setting is not supported yet; remove it")]
    [InlineData("""{ "gradient_cliping": 1 }""", "gradient_cliping: there is no such key; did you mean \"gradient_clipping\"?")]
    [InlineData("""{ "zero_optimisation": {} }""", "zero_optimisation: there is no such key; did you mean \"zero_optimization\"?")]
    [InlineData("""{ "zero_optimization": { "overlap_comm": true } }""", "zero_optimization.overlap_comm: this setting is not supported yet; remove it")]
    [InlineData("""{ "favourite_colour": 1 }""", "favourite_colour: there is no such key; remove it")]
    [InlineData("""{ "train_batch_size": 8, "train_batch_size": 16 }""", "train_batch_size: the key appears twice; keep one of them")]
    // Sections.
    [InlineData("""{ "optimizer": { "params": { "lr": 1 } } }""", "optimizer.type: the optimizer has no type; add \"type\": \"AdamW\"")]
    [InlineData("""{ "optimizer": { "type": "SGD", "params": { "momentum": 0.9 } } }""", "optimizer.type: the optimizer SGD is not supported yet; use Adam or AdamW")]
    [InlineData("""{ "optimizer": { "type": "AdaNope" } }""", "optimizer.type: there is no optimizer AdaNope; use Adam or AdamW")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "max_grad_norm": 1 } } }""", "optimizer.params.max_grad_norm: clipping is not an optimizer parameter; write \"gradient_clipping\" at the top level instead")]
    [InlineData("""{ "optimizer": [] }""", "optimizer: [] is not an object; write { ... } with the keys of this section")]
    [InlineData("""{ "scheduler": { "type": "OneCycle", "params": { "cycle_min_lr": 1 } } }""", "scheduler.type: the schedule OneCycle is not supported yet; use WarmupLR")]
    [InlineData("""{ "scheduler": { "type": "Nope" } }""", "scheduler.type: there is no schedule Nope; use WarmupLR")]
    [InlineData("""{ "zero_optimization": 2 }""", "zero_optimization: 2 is not a section; write { \"stage\": 0 }")]
    [InlineData("""{ "zero_optimization": null }""", "zero_optimization: null is not a section; write { \"stage\": 0 } or remove the key")]
    [InlineData("""{ "zero_optimization": true }""", "zero_optimization: true means stage 1, which is not supported yet; write false, or { \"stage\": 0 }")]
    [InlineData("""{ "zero_optimization": { "stage": -1 } }""", "zero_optimization.stage: -1 is not a ZeRO stage; use 0")]
    [InlineData("""{ "zero_optimization": { "stage": "two" } }""", "zero_optimization.stage: \"two\" is not a whole number; use a whole number without quotes")]
    [InlineData("""{ "fp16": { "enabled": true } }""", "fp16.enabled: fp16 training is not supported yet; train in fp32: remove \"fp16\"")]
    [InlineData("""{ "fp16": { "enabeld": true } }""", "fp16.enabeld: there is no such key; did you mean \"enabled\"?")]
    [InlineData("""{ "bf16": { "enabled": "true" } }""", "bf16.enabled: \"true\" is not true or false; use true or false without quotes")]
    // The document.
    [InlineData("[]", "$: the config is not a JSON object; write { ... }")]
    public void Parse_Problem_SaysWhereWhatAndWhatToDo(string json, string expected)
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse(json));

        Assert.Equal(expected, Assert.Single(error.Errors).ToString());
    }

    [Fact]
    public void Parse_BrokenJson_NamesThePlace()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse("{\n \"train_batch_size\" 8 }"));

        Assert.Contains("LineNumber: 1", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "zero_optimization": false }""")]
    [InlineData("""{ "zero_optimization": {} }""")]
    [InlineData("""{ "optimizer": null, "scheduler": null, "gradient_clipping": null }""")]
    [InlineData("""{ "gradient_clipping": 0 }""")]
    [InlineData("""{ "fp16": {}, "bf16": { "enabled": false, "check_grad_overflow": true } }""")]
    [InlineData("""{ "optimizer": { "type": "adamw" } }""")]
    public void Parse_HarmlessForms_AreAccepted(string json)
    {
        Assert.Equal(0, DeepSpeedConfig.Parse(json).Zero.Stage);
    }

    [Fact]
    public void Load_MissingFile_IsAConfigException()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Load("/nowhere/ds_config.json"));

        Assert.Contains("/nowhere/ds_config.json has a problem:", error.Message, StringComparison.Ordinal);
        Assert.Contains("the file cannot be read", error.Message, StringComparison.Ordinal);
    }
}
