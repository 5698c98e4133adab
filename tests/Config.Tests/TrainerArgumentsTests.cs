namespace DeepSpeedSharp.Config.Tests;

public sealed class TrainerArgumentsTests
{
    // What Hugging Face users write.
    private const string Auto = """
        {
          "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
          "gradient_clipping": "auto",
          "optimizer": { "type": "AdamW",
            "params": { "lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto" } },
          "scheduler": { "type": "WarmupDecayLR", "params": { "warmup_min_lr": "auto", "warmup_max_lr": "auto",
            "warmup_num_steps": "auto", "total_num_steps": "auto" } },
          "fp16": { "enabled": "auto" }, "bf16": { "enabled": "auto" },
          "zero_optimization": { "stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto", "stage3_gather_16bit_weights_on_model_save": "auto" }
        }
        """;

    private static readonly TrainerArguments All = new()
    {
        PerDeviceTrainBatchSize = 4,
        GradientAccumulationSteps = 2,
        MaxGradNorm = 0.5,
        LearningRate = 3e-4,
        AdamBeta1 = 0.8,
        AdamBeta2 = 0.95,
        AdamEpsilon = 1e-6,
        WeightDecay = 0.1,
        WarmupSteps = 10,
        TotalSteps = 100,
        Fp16 = false,
        Bf16 = true,
        HiddenSize = 64,
        Gather16BitWeightsOnModelSave = true,
        WorldSize = 2,
    };

    [Fact]
    public void Parse_AutoWithArguments_FillsByTheTable()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse(Auto, arguments: All);

        Assert.Empty(config.UnresolvedAuto);
        Assert.Equal(new BatchPlan(16, 4, 2, 2), BatchPlan.Resolve(config.Batch, 2));
        Assert.Equal(0.5, config.GradientClipping);
        Assert.Equal(new AdamParams { LearningRate = 3e-4, Betas = ValueList.Of(0.8, 0.95), Epsilon = 1e-6, WeightDecay = 0.1 },
            config.Optimizer!.Params);
        Assert.Equal(new WarmupDecayParams
        {
            MinLearningRate = ValueList.Of(0.0),
            MaxLearningRate = ValueList.Of(3e-4),
            Steps = 10,
            TotalSteps = 100,
        }, config.Scheduler!.Params);
        Assert.Equal((false, true), (config.Fp16.Enabled, config.Bf16.Enabled));
        Assert.Equal(64 * 64, config.Zero.ReduceBucketSize);
        Assert.Equal((3686, 640, true), (config.Zero.Stage3.PrefetchBucketSize, config.Zero.Stage3.ParamPersistenceThreshold,
            config.Zero.Stage3.Gather16BitWeightsOnModelSave));
    }

    [Fact]
    public void Parse_AutoWithoutAnArgument_TakesTheTrainersDefault()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse(Auto, arguments: new TrainerArguments { TotalSteps = 50 });

        Assert.Equal(new BatchPlan(32, 8, 1, 4), BatchPlan.Resolve(config.Batch, 4));
        Assert.Equal((1.0, 5e-5), (config.GradientClipping, config.Optimizer!.Params.LearningRate));
        Assert.Equal((1, 50), (((WarmupDecayParams)config.Scheduler!.Params).Steps, ((WarmupDecayParams)config.Scheduler.Params).TotalSteps));
        Assert.Equal((false, false), (config.Fp16.Enabled, config.Bf16.Enabled));

        // Nobody knows the model's width.
        Assert.Equal(
        [
            "zero_optimization.reduce_bucket_size", "zero_optimization.stage3_prefetch_bucket_size",
            "zero_optimization.stage3_param_persistence_threshold",
        ], config.UnresolvedAuto);
    }

    [Fact]
    public void Parse_Contradictions_AreReportedAllAtOnce()
    {
        const string Json = """
            {
              "train_batch_size": 64, "train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 1, "gradient_clipping": 1,
              "optimizer": { "type": "Adam", "params": { "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0 } },
              "scheduler": { "type": "WarmupLR", "params": { "warmup_max_lr": 1e-3, "warmup_num_steps": 5 } },
              "bf16": { "enabled": false }
            }
            """;

        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse(Json, "ds.json", All));

        Assert.Equal(
        [
            "train_micro_batch_size_per_gpu: 8 contradicts the argument per_device_train_batch_size, which is 4; write \"auto\", or make both the same",
            "gradient_accumulation_steps: 1 contradicts the argument gradient_accumulation_steps, which is 2; write \"auto\", or make both the same",
            "gradient_clipping: 1 contradicts the argument max_grad_norm, which is 0.5; write \"auto\", or make both the same",
            "optimizer.params.lr: 1e-3 contradicts the argument learning_rate, which is 0.0003; write \"auto\", or make both the same",
            "optimizer.params.weight_decay: 0 contradicts the argument weight_decay, which is 0.1; write \"auto\", or make both the same",
            "optimizer.params.betas: [0.9, 0.999] contradicts the argument adam_beta1 and adam_beta2, which is [0.8,0.95]; write \"auto\", or make both the same",
            "optimizer.params.eps: 1e-8 contradicts the argument adam_epsilon, which is 1E-06; write \"auto\", or make both the same",
            "scheduler.params.warmup_max_lr: 1e-3 contradicts the argument learning_rate, which is 0.0003; write \"auto\", or make both the same",
            "scheduler.params.warmup_num_steps: 5 contradicts the argument warmup_steps, which is 10; write \"auto\", or make both the same",
            "bf16.enabled: false contradicts the argument bf16, which is true; write \"auto\", or make both the same",
            "zero_optimization.stage3_gather_16bit_weights_on_model_save: the argument gather_16bit_weights_on_model_save is given, but nothing in this config takes it; remove it",
        ], error.Errors.Select(e => e.ToString()));
    }

    [Theory]
    [InlineData("""{ "train_batch_size": 24, "train_micro_batch_size_per_gpu": "auto" }""", "train_batch_size: 24 is not 4 (micro batch) x 2 (accumulation) x 2 (ranks) = 16; use 16 or remove one of the three")]
    [InlineData("""{ "optimizer": { "type": "SGD" } }""", "optimizer.params.betas: the argument adam_beta1 and adam_beta2 is given, but nothing in this config takes it; remove it, or name an optimizer that has it: \"optimizer\": { \"type\": \"AdamW\" }")]
    public void Parse_ArgumentsThatDoNotFit_AreErrors(string json, string expected)
    {
        var arguments = new TrainerArguments
        {
            PerDeviceTrainBatchSize = 4,
            GradientAccumulationSteps = 2,
            AdamBeta1 = json.Contains("SGD", StringComparison.Ordinal) ? 0.8 : null,
            WorldSize = 2,
        };

        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse(json, arguments: arguments));

        Assert.Equal(expected, Assert.Single(error.Errors).ToString());
    }

    [Fact]
    public void Parse_SameValuesWrittenDifferently_DoNotContradict()
    {
        const string Json = """
            { "train_micro_batch_size_per_gpu": "4", "gradient_accumulation_steps": 2.0, "bf16": { "enabled": "true" },
              "optimizer": { "type": "Adam", "params": { "lr": "3e-4" } } }
            """;
        var arguments = new TrainerArguments
        {
            PerDeviceTrainBatchSize = 4,
            GradientAccumulationSteps = 2,
            LearningRate = 3e-4,
            Bf16 = true,
        };

        Assert.True(DeepSpeedConfig.Parse(Json, arguments: arguments).Bf16.Enabled);
    }

    [Fact]
    public void Parse_MissingSections_AreMadeFromArguments()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("{}", arguments: new TrainerArguments
        {
            PerDeviceTrainBatchSize = 2,
            LearningRate = 1e-4,
            Bf16 = true,
            WarmupSteps = 7,
            TotalSteps = 70,
            LearningRateScheduler = TrainerSchedule.Cosine,
        });

        Assert.Equal(("AdamW", 1e-4), (config.Optimizer!.Type, config.Optimizer.Params.LearningRate));
        Assert.Equal(new WarmupCosineParams { Steps = 7, TotalSteps = 70, CosineMinRatio = 0, Type = "linear" },
            config.Scheduler!.Params);
        Assert.True(config.Bf16.Enabled);
        Assert.Equal(2, config.Batch.MicroBatchSize);
    }

    [Theory]
    [InlineData(TrainerSchedule.Linear, "WarmupDecayLR")]
    [InlineData(TrainerSchedule.ConstantWithWarmup, "WarmupLR")]
    [InlineData(TrainerSchedule.Constant, null)]
    public void Parse_SchedulerType_MapsToDeepSpeeds(TrainerSchedule schedule, string? expected)
    {
        var arguments = new TrainerArguments { LearningRate = 1e-3, LearningRateScheduler = schedule, TotalSteps = 9 };

        Assert.Equal(expected, DeepSpeedConfig.Parse("{}", arguments: arguments).Scheduler?.Type);
        Assert.Throws<ConfigException>(() =>
            DeepSpeedConfig.Parse("""{ "scheduler": { "type": "LRRangeTest" } }""", arguments: arguments));
    }

    [Fact]
    public void Parse_AutoWithoutArguments_IsRecordedAndRefusedByTheEngine()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            { "train_batch_size": 8, "optimizer": { "type": "AdamW", "params": { "lr": "auto" } },
              "zero_optimization": { "reduce_bucket_size": "auto" } }
            """);

        Assert.Equal(["optimizer.params.lr", "zero_optimization.reduce_bucket_size"], config.UnresolvedAuto);
        Assert.Equal(1e-3, config.Optimizer!.Params.LearningRate);
        ConfigException error = Assert.Throws<ConfigException>(() => EngineLimits.ThrowIfAny(config));
        Assert.Equal(
        [
            "optimizer.params.lr: \"auto\" is for a trainer to fill, and none did; write the value, or give the trainer's argument (TrainerArguments)",
            "zero_optimization.reduce_bucket_size: \"auto\" is for a trainer to fill, and none did; write a number of elements, or give the model's hidden size (TrainerArguments.HiddenSize)",
        ], error.Errors.Select(e => e.ToString()));
    }

    [Fact]
    public void ForJob_AutoAnywhere_IsLeftToTheProgram()
    {
        ConfigReport report = ConfigReport.ForJob(Auto, 4);

        Assert.True(report.IsValid, string.Join("; ", report.Errors));
        Assert.Null(report.Batch);
        Assert.Equal("gradient_cliping", Assert.Single(ConfigReport.ForJob(
            """{ "train_batch_size": "auto", "gradient_cliping": 1 }""", 4).Errors).Path);
        Assert.Equal("train_batch_size", Assert.Single(ConfigReport.ForJob(
            """{ "train_batch_size": 30, "gradient_clipping": "auto" }""", 4).Errors).Path);
    }
}
