namespace DeepSpeedSharp.Config;

/// <summary>What sections must agree on.</summary>
internal static class ConfigRules
{
    /// <summary>Whether a problem at this path leaves nothing to check here.</summary>
    public static bool Concerns(string path) =>
        path.Split('.')[0] is "$" or "zero_optimization" or "fp16" or "bf16" or "bfloat16" or "elasticity";

    public static void Check(DeepSpeedConfig config, ConfigErrors errors)
    {
        CheckPrecision(config, errors);
        CheckGradients(config, errors);
        CheckElasticity(config, errors);
    }

    private static void CheckPrecision(DeepSpeedConfig config, ConfigErrors errors)
    {
        (Fp16Config fp16, Bf16Config bf16) = (config.Fp16, config.Bf16);
        if (fp16.Enabled && bf16.Enabled)
        {
            errors.Add("bf16.enabled", "fp16 and bf16 are both enabled", "keep one of them");
        }

        if (bf16.MasterWeightsAndGrads && config.Zero.Stage == 0)
        {
            errors.Add("bf16.bf16_master_weights_and_grads", "master weights in bf16 need ZeRO",
                "use \"zero_optimization\": { \"stage\": 1 } or more, or remove it");
        }

        if (fp16.MasterWeightsAndGrads
            && (config.Zero.Stage == 0 || config.Zero.OffloadOptimizer is null or { Device: OffloadDevice.None }))
        {
            errors.Add("fp16.fp16_master_weights_and_grads", "master weights in fp16 need ZeRO with an offloaded optimizer",
                "add \"offload_optimizer\": { \"device\": \"cpu\" } to zero_optimization of stage 1 or more, or remove it");
        }

        if (config.Amp.Enabled && (config.Zero.Stage > 0 || fp16.Enabled))
        {
            errors.Add("amp.enabled", $"amp cannot be combined with {(fp16.Enabled ? "fp16" : "ZeRO")}", "remove amp");
        }

        TrainingDataType mode = fp16.Enabled ? TrainingDataType.Fp16 : bf16.Enabled ? TrainingDataType.Bf16 : TrainingDataType.Fp32;
        if (config.DataTypes.ParamDtype is { } type && type != mode)
        {
            errors.Add("data_types.param_dtype", $"it is {Name(type)}, and this config trains in {Name(mode)}",
                type == TrainingDataType.Fp32 ? $"remove it, or switch {Name(mode)} off"
                    : $"remove it, or write \"{Name(type)}\": {{ \"enabled\": true }}");
        }
    }

    private static void CheckGradients(DeepSpeedConfig config, ConfigErrors errors)
    {
        if (config is { GradientAllReduceOp: GradientAllReduceOp.Sum, Zero.Stage: 3 })
        {
            errors.Add("gradient_allreduce_op", "the sum does not exist in ZeRO stage 3", "use \"mean\"");
        }

        bool divides = config.PrescaleGradients || config.GradientPredivideFactor != 1;
        if (divides && config is { Zero: { Stage: 2 or 3, ReduceScatter: true } })
        {
            errors.Add(config.PrescaleGradients ? "prescale_gradients" : "gradient_predivide_factor",
                $"gradients that are reduced to their owners (stage {config.Zero.Stage}) are divided once, before that",
                "remove it, or add \"reduce_scatter\": false to zero_optimization");
        }
    }

    private static void CheckElasticity(DeepSpeedConfig config, ConfigErrors errors)
    {
        bool hasBatch = config.Batch.TrainBatchSize is not null || config.Batch.MicroBatchSize is not null
            || config.Batch.GradientAccumulationSteps is not null;
        if (hasBatch && config.Elasticity is { Enabled: true, IgnoreNonElasticBatchInfo: false })
        {
            errors.Add("elasticity", "it chooses the batch sizes, and the config names some too",
                "remove train_batch_size, train_micro_batch_size_per_gpu and gradient_accumulation_steps, "
                + "or add \"ignore_non_elastic_batch_info\": true");
        }
    }

    private static string Name(TrainingDataType type) => DataTypesConfig.Names.First(n => n.Item2 == type).Item1;
}
