using System.Buffers.Text;
using System.Text;

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
                "warmup_min_lr": 1e-5, "warmup_max_lr": 1e-3, "warmup_num_steps": 200, "warmup_type": "linear" } },
              "zero_optimization": { "stage": 0.0, "reduce_bucket_size": 5e7 },
              "fp16": { "enabled": false, "loss_scale": 0 },
            }
            """);

        var adam = (AdamParams)config.Optimizer!.Params;
        Assert.Equal((16, 0.5, 10), (config.Batch.TrainBatchSize!.Value, config.GradientClipping, config.StepsPerPrint!.Value));
        Assert.Equal(("Adam", 3e-4, 1e-6, 0.1), (config.Optimizer.Type, adam.LearningRate, adam.Epsilon, adam.WeightDecay));
        Assert.Equal([0.8, 0.99], adam.Betas);
        Assert.Equal((false, false), (adam.BiasCorrection, adam.AdamWMode));
        Assert.Equal(new WarmupParams { MinLearningRate = ValueList.Of(1e-5), MaxLearningRate = ValueList.Of(1e-3), Steps = 200, Type = "linear" },
            config.Scheduler!.Params);
        Assert.Equal(50_000_000, config.Zero.ReduceBucketSize);
    }

    // Hugging Face's examples write -1; a schedule of a resumed run begins where its checkpoint says.
    [Theory]
    [InlineData("-1", 0)]
    [InlineData("100", 1)]
    public void Parse_LastBatchIteration_MayOnlySayThatNothingIsDone(string iteration, int problems)
    {
        var errors = new ConfigErrors();
        DeepSpeedConfig.Read($$"""
            { "scheduler": { "type": "WarmupLR", "params": { "last_batch_iteration": {{iteration}} } } }
            """, errors);

        Assert.Equal(Enumerable.Repeat("scheduler.params.last_batch_iteration", problems), errors.All.Select(e => e.Path));
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
              "zero_optimization": { "stage": 4 },
              "bf16": { "enabled": "on" },
              "wandb": { "enabled": true },
              "train_micro_batch_size": 4
            }
            """, "ds_config.json"));

        Assert.Equal(
        [
            "train_batch_size", "steps_per_print", "gradient_clipping", "optimizer.params.lr", "optimizer.params.betas",
            "scheduler.params.warmup_type", "bf16.enabled", "zero_optimization.stage", "wandb.enabled", "train_micro_batch_size",
        ], error.Errors.Select(e => e.Path));
        Assert.StartsWith("ds_config.json has 10 problems:", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    // Whole numbers, as DeepSpeed's files write them.
    [InlineData("""{ "train_batch_size": "eight" }""", "train_batch_size: \"eight\" is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "train_batch_size": true }""", "train_batch_size: true is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "train_batch_size": 1e12 }""", "train_batch_size: 1e12 is out of range; use a value from 1 to 2147483647")]
    [InlineData("""{ "train_batch_size": -4 }""", "train_batch_size: -4 is out of range; use 1 or more")]
    [InlineData("""{ "steps_per_print": 0 }""", "steps_per_print: 0 is out of range; use 1 or more")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": 0.5 } }""", "zero_optimization.reduce_bucket_size: 0.5 is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": "5e8" } }""", "zero_optimization.reduce_bucket_size: \"5e8\" is not a whole number; use a whole number of at least 1")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": 9223372036854775808 } }""", "zero_optimization.reduce_bucket_size: 9223372036854775808 is out of range; use a value from 1 to 9223372036854775807")]
    [InlineData("""{ "bf16": { "enabled": "yes please" } }""", "bf16.enabled: \"yes please\" is not true or false; use true or false")]
    [InlineData("""{ "bf16": { "enabled": 1 } }""", "bf16.enabled: 1 is not true or false; use true or false")]
    // "auto" is the caller's to replace.
    [InlineData("""{ "train_batch_size": "auto" }""", "train_batch_size: \"auto\" is for a trainer to fill, and none did; write a number, or remove it so that it follows from micro batch, accumulation and ranks")]
    [InlineData("""{ "train_micro_batch_size_per_gpu": "auto" }""", "train_micro_batch_size_per_gpu: \"auto\" is for a trainer to fill, and none did; write a number, or train with --per-device-train-batch-size (from a program: TrainerArguments)")]
    [InlineData("""{ "gradient_clipping": "auto" }""", "gradient_clipping: \"auto\" is for a trainer to fill, and none did; write a number, or train with --max-grad-norm (from a program: TrainerArguments)")]
    // Names: slips, names cut short, and inventions.
    [InlineData("""{ "gradient_cliping": 1 }""", "gradient_cliping: there is no such key; did you mean \"gradient_clipping\"?")]
    [InlineData("""{ "zero_optimisation": {} }""", "zero_optimisation: there is no such key; did you mean \"zero_optimization\"?")]
    [InlineData("""{ "train_micro_batch_size": 4 }""", "train_micro_batch_size: there is no such key; did you mean \"train_micro_batch_size_per_gpu\"?")]
    [InlineData("""{ "zero_optimization": { "overlap_com": true } }""", "zero_optimization.overlap_com: there is no such key; did you mean \"overlap_comm\"?")]
    [InlineData("""{ "timers": { "throughput": { "synchronised": true } } }""", "timers.throughput.synchronised: there is no such key; did you mean \"synchronized\"?")]
    [InlineData("""{ "favourite_colour": 1 }""", "favourite_colour: there is no such key; remove it")]
    [InlineData("""{ "train_batch_size": 8, "train_batch_size": 16 }""", "train_batch_size: the key appears twice; keep one of them")]
    [InlineData("""{ "bf16": {}, "bfloat16": {} }""", "bfloat16: it means the same as bf16, which is there too; keep one of them")]
    [InlineData("""{ "bfloat16": { "enabeld": true } }""", "bfloat16.enabeld: there is no such key; did you mean \"enabled\"?")]
    // Optimizer and schedule.
    [InlineData("""{ "optimizer": { "params": { "lr": 1 } } }""", "optimizer.type: the optimizer has no type; add \"type\": \"AdamW\"")]
    [InlineData("""{ "optimizer": { "type": "AdaNope" } }""", "optimizer.type: there is no optimizer AdaNope; use one of Adam, AdamW, SGD, Lamb, Lion, Adagrad, Muon")]
    [InlineData("""{ "optimizer": { "type": "AdemW" } }""", "optimizer.type: there is no optimizer AdemW; did you mean \"AdamW\"?")]
    [InlineData("""{ "optimizer": { "type": "OneBitAdam", "params": { "freeze_step": 5 } } }""", "optimizer.type: the optimizer OneBitAdam is not supported; use Adam")]
    [InlineData("""{ "optimizer": { "type": "AdamW", "params": { "adam_w_mode": false } } }""", "optimizer.params.adam_w_mode: AdamW always decays decoupled from the gradient; write \"type\": \"Adam\" for L2 decay, or remove it")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "amsgrad": true } } }""", "optimizer.params.amsgrad: the amsgrad variant is not supported; remove it")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "betas": [0.9, 1] } } }""", "optimizer.params.betas: [0.9, 1] is not a list of 2 numbers, each a number of at least 0 and below 1; write [x, x]")]
    [InlineData("""{ "optimizer": { "type": "SGD", "params": { "betas": [0.9, 0.99] } } }""", "optimizer.params.betas: there is no such key; remove it")]
    [InlineData("""{ "optimizer": { "type": "SGD", "params": { "nesterov": true } } }""", "optimizer.params.nesterov: it needs momentum; add \"momentum\", for example 0.9, or remove it")]
    [InlineData("""{ "optimizer": { "type": "Lamb", "params": { "min_coeff": 20 } } }""", "optimizer.params.min_coeff: 20 is above max_coeff, which is 10; use a smaller one")]
    [InlineData("""{ "optimizer": { "type": "Muon", "params": { "ns_method": "fast" } } }""", "optimizer.params.ns_method: \"fast\" is not one of \"gram\", \"standard\"; use \"gram\" or \"standard\"")]
    [InlineData("""{ "optimizer": { "type": "Muon", "params": { "lr": -1 } } }""", "optimizer.params.lr: -1 is not a number of at least 0; use a number of at least 0")]
    [InlineData("""{ "optimizer": [] }""", "optimizer: [] is not an object; write { ... } with the keys of this section")]
    [InlineData("""{ "scheduler": { "type": "OneCycle", "params": { "cycle_min_lr": 1 } } }""", "scheduler.params.cycle_max_lr: it is missing and has no default; add \"cycle_max_lr\", for example 0.001")]
    [InlineData("""{ "scheduler": { "type": "WarmupDecayLR" } }""", "scheduler.params.total_num_steps: it is missing and has no default; add \"total_num_steps\", for example 10000")]
    [InlineData("""{ "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 10.0 } } }""", "scheduler.params.warmup_num_steps: 10.0 is not written as a whole number; write 10")]
    [InlineData("""{ "scheduler": { "type": "WarmupLR", "params": { "warmup_max_lr": [0.1, -1] } } }""", "scheduler.params.warmup_max_lr: [0.1, -1] is not a list of numbers, each a number of at least 0; use a number of at least 0, or a list with one for each parameter group")]
    [InlineData("""{ "scheduler": { "type": "Nope" } }""", "scheduler.type: there is no schedule Nope; use one of WarmupLR, WarmupDecayLR, WarmupCosineLR, OneCycle, LRRangeTest")]
    // ZeRO.
    [InlineData("""{ "zero_optimization": 2 }""", "zero_optimization: 2 is not a section; write { \"stage\": 2 }; the number belongs to zero_optimization.stage")]
    [InlineData("""{ "zero_optimization": null }""", "zero_optimization: null is not a section; write { \"stage\": 0 } or remove the key")]
    [InlineData("""{ "zero_optimization": { "stage": -1 } }""", "zero_optimization.stage: -1 is not a ZeRO stage; use 0, 1, 2 or 3")]
    [InlineData("""{ "zero_optimization": { "stage": "two" } }""", "zero_optimization.stage: \"two\" is not a whole number; use 0, 1, 2 or 3")]
    [InlineData("""{ "zero_optimization": { "stage": 3, "offload_param": { "device": "nvme" } } }""", "zero_optimization.offload_param.nvme_path: offload to nvme needs a folder; add \"nvme_path\": a folder on a fast local disk")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "cpu", "ratio": 0.5 } } }""", "zero_optimization.offload_optimizer.ratio: a part of the optimizer can be offloaded in stage 3 only, and this is stage 2; use \"stage\": 3, or a ratio of 1")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "zenflow": {} } }""", "zero_optimization.zenflow: ZenFlow is not supported; remove it; \"offload_optimizer\" alone is enough")]
    [InlineData("""{ "prescale_gradients": true, "zero_optimization": { "stage": 2 } }""", "prescale_gradients: gradients that are reduced to their owners (stage 2) are divided once, before that; remove it, or add \"reduce_scatter\": false to zero_optimization")]
    // Precision.
    [InlineData("""{ "fp16": { "enabled": true }, "bf16": { "enabled": true } }""", "bf16.enabled: fp16 and bf16 are both enabled; keep one of them")]
    [InlineData("""{ "fp16": { "enabled": true, "loss_scale_window": 0 } }""", "fp16.loss_scale_window: 0 is out of range; use 1 or more")]
    [InlineData("""{ "bf16": { "enabled": true }, "data_types": { "param_dtype": "fp16" } }""", "data_types.param_dtype: it is fp16, and this config trains in bf16; remove it, or write \"fp16\": { \"enabled\": true }")]
    [InlineData("""{ "data_types": { "grad_accum_dtype": "int8" } }""", "data_types.grad_accum_dtype: \"int8\" is not one of \"fp32\", \"fp16\", \"bf16\"; use \"fp32\", \"fp16\" or \"bf16\"")]
    [InlineData("""{ "amp": { "enabled": true }, "zero_optimization": true }""", "amp.enabled: amp cannot be combined with ZeRO; remove amp")]
    // Other sections.
    [InlineData("""{ "activation_checkpointing": { "contiguous_memory_optimization": true } }""", "activation_checkpointing.contiguous_memory_optimization: it needs partitioned activations and their number; add \"partition_activations\": true and \"number_checkpoints\", or remove it")]
    [InlineData("""{ "elasticity": { "enabled": true, "micro_batch_sizes": [2] } }""", "elasticity.max_train_batch_size: elasticity needs it; add \"max_train_batch_size\", for example 2000")]
    [InlineData("""{ "train_batch_size": 8, "elasticity": { "enabled": true, "max_train_batch_size": 8, "micro_batch_sizes": [2] } }""", "elasticity: it chooses the batch sizes, and the config names some too; remove train_batch_size, train_micro_batch_size_per_gpu and gradient_accumulation_steps, or add \"ignore_non_elastic_batch_info\": true")]
    // Features that do not exist here.
    [InlineData("""{ "wandb": { "enabled": true } }""", "wandb.enabled: Weights & Biases is not supported; use \"csv_monitor\" or \"tensorboard\"")]
    [InlineData("""{ "wandb": { "enabeld": true } }""", "wandb.enabeld: there is no such key; did you mean \"enabled\"?")]
    [InlineData("""{ "compile": { "deepcompile": true } }""", "compile.deepcompile: DeepCompile is not supported; remove it; models run eagerly")]
    [InlineData("""{ "tensor_parallel": { "tp": { "tp_size": 2 } } }""", "tensor_parallel.tp.tp_size: tensor parallelism is not supported; use data parallelism: remove it")]
    [InlineData("""{ "sparse_attention": { "mode": "fixed" } }""", "sparse_attention: sparse attention is not supported; build the attention into the model")]
    [InlineData("""{ "compression_training": { "weight_quantization": { "shared_parameters": { "enabled": true } } } }""", "compression_training.weight_quantization.shared_parameters.enabled: compression during training is not supported; quantize or prune the trained model")]
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
    [InlineData("""{ "wandb": { "enabled": false, "project": "a" }, "amp": { "enabled": "false", "opt_level": "O1" } }""")]
    [InlineData("""{ "compile": { "deepcompile": false }, "tensor_parallel": { "autotp_size": 0 }, "pipeline": {} }""")]
    [InlineData("""{ "elasticity": {}, "comms_logger": {}, "autotuning": { "enabled": false } }""")]
    public void Parse_HarmlessForms_AreAccepted(string json)
    {
        Assert.Equal(0, DeepSpeedConfig.Parse(json).Zero.Stage);
    }

    [Fact]
    public void Parse_Base64_IsTheConfigItself()
    {
        string base64 = Base64Url.EncodeToString(Encoding.UTF8.GetBytes("""{ "train_batch_size": 8, "log_level": "??>>" }"""));

        Assert.Equal(8, DeepSpeedConfig.Parse(base64).Batch.TrainBatchSize);
        Assert.Equal(8, DeepSpeedConfig.Load(base64).Batch.TrainBatchSize);
        Assert.Throws<ConfigException>(() => DeepSpeedConfig.Parse(Base64Url.EncodeToString("not a config"u8)));
    }

    [Fact]
    public void Parse_OneRuleForValues_HoldsInEverySection()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            {
              "train_batch_size": "8", "steps_per_print": 1e1, "gradient_clipping": "0.5", "wall_clock_breakdown": "True",
              "zero_optimization": { "stage": "2", "reduce_bucket_size": 5e7 },
              "optimizer": { "type": "lion", "params": { "lr": "1e-4", "betas": ["0.9", 0.99] } },
              "csv_monitor": { "enabled": "false" }
            }
            """);

        Assert.Equal((8, 10, 0.5, true), (config.Batch.TrainBatchSize!.Value, config.StepsPerPrint!.Value, config.GradientClipping,
            config.WallClockBreakdown));
        Assert.Equal((2, 50_000_000), (config.Zero.Stage, config.Zero.ReduceBucketSize));
        Assert.Equal("Lion", config.Optimizer!.Type);
        Assert.Equal(new LionParams { LearningRate = 1e-4, Betas = ValueList.Of(0.9, 0.99) }, config.Optimizer.Params);
    }

    [Fact]
    public void Parse_Optimizers_HaveDeepSpeedsDefaults()
    {
        Assert.Equal(new SgdParams { LearningRate = 1e-3 }, Params("sgd"));
        Assert.Equal(new AdagradParams { LearningRate = 1e-2, Epsilon = 1e-10 }, Params("ADAGRAD"));
        Assert.Equal(new LambParams { MaxCoefficient = 10, MinCoefficient = 0.01 }, Params("Lamb"));
        Assert.Equal(new MuonParams { MuonLearningRate = 0.02, AdamLearningRate = 3e-4 }, Params("Muon"));
        Assert.Equal(new MuonParams { LearningRate = 0.1, MuonLearningRate = 0.1, AdamLearningRate = 0.2 },
            Params("Muon", "\"lr\": 0.1, \"adam_lr\": 0.2"));

        static OptimizerParams Params(string type, string parameters = "") => DeepSpeedConfig.Parse(
            $$"""{ "optimizer": { "type": "{{type}}", "params": { {{parameters}} } } }""").Optimizer!.Params;
    }

    [Fact]
    public void Load_MissingFile_IsAConfigException()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedConfig.Load("/nowhere/ds_config.json"));

        Assert.Contains("/nowhere/ds_config.json has a problem:", error.Message, StringComparison.Ordinal);
        Assert.Contains("the file cannot be read", error.Message, StringComparison.Ordinal);
    }
}
