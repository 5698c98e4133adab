namespace DeepSpeedSharp.Config.Tests;

public sealed class EngineLimitsTests
{
    [Theory]
    [InlineData("""{ "zero_optimization": { "stage": 3 } }""", "zero_optimization.stage: ZeRO stage 3 is not supported yet; use 0, 1 or 2")]
    [InlineData("""{ "zero_optimization": { "stage": 2 }, "optimizer": { "type": "Lamb" } }""", "optimizer.type: Lamb looks at whole parameters, and under ZeRO a rank has shards of them only (zero_allow_untested_optimizer does not change that); use Adam, AdamW, Lion, Adagrad or SGD, or zero_optimization.stage 0")]
    [InlineData("""{ "zero_optimization": true, "sparse_gradients": true }""", "sparse_gradients: gradients are not reduced by rows under ZeRO; remove it, or use zero_optimization.stage 0")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "zero_quantized_gradients": true } }""", "zero_optimization.zero_quantized_gradients: this setting is not supported yet; remove it")]
    [InlineData("""{ "zero_optimization": { "stage": 1, "enable_sanity_checks": true } }""", "zero_optimization.enable_sanity_checks: this setting is not supported yet; remove it")]
    [InlineData("""{ "zero_optimization": { "cpu_offload": true } }""", "zero_optimization.offload_optimizer: offload of the optimizer is not supported yet; remove it")]
    [InlineData("""{ "zero_optimization": { "legacy_stage1": true } }""", "zero_optimization.legacy_stage1: the first version of stage 1 does not exist any more; remove it")]
    [InlineData("""{ "comms_logger": { "enabled": true } }""", "comms_logger.enabled: logging of collectives is not supported yet; use false")]
    [InlineData("""{ "amp": { "enabled": true } }""", "amp.enabled: mixed precision by Apex is not supported; use \"bf16\" or \"fp16\"")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "max_grad_norm": 1 } } }""", "optimizer.params.max_grad_norm: clipping is not an optimizer parameter; write \"gradient_clipping\" at the top level instead")]
    [InlineData("""{ "sequence_parallel_size": 2 }""", "sequence_parallel_size: this setting is not supported yet; use 1")]
    [InlineData("""{ "activation_checkpointing": { "cpu_checkpointing": true, "number_checkpoints": 4, "profile": true } }""", "activation_checkpointing.profile: this setting is not supported yet; use false")]
    [InlineData("""{ "data_types": { "grad_accum_dtype": "bf16" } }""", "data_types.grad_accum_dtype: bf16 gradients of fp32 parameters are not supported; use \"fp32\", or remove it")]
    [InlineData("""{ "checkpoint": { "load_universal": true } }""", "checkpoint.load_universal: this setting is not supported yet; use false")]
    [InlineData("""{ "elasticity": { "enabled": true, "max_train_batch_size": 64, "micro_batch_sizes": [2], "model_parallel_size": 2, "num_gpus_per_node": 2 } }""", "elasticity.model_parallel_size: a model over several ranks is not supported yet; use 1")]
    public void Problems_SettingBeyondTheEngine_IsNamed(string json, string expected)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse(json);

        Assert.Equal(expected, Assert.Single(EngineLimits.Problems(config)).ToString());
        Assert.Throws<ConfigException>(() => EngineLimits.ThrowIfAny(config));
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{ "zero_optimization": { "stage": 0, "overlap_comm": true, "offload_param": { "device": "none" } } }""")]
    [InlineData("""{ "zero_optimization": true }""")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "overlap_comm": true, "contiguous_gradients": false, "reduce_scatter": false, "round_robin_gradients": true, "ignore_unused_parameters": false, "load_from_fp32_weights": false } }""")]
    [InlineData("""{ "optimizer": { "type": "AdamW" }, "scheduler": { "type": "WarmupLR" }, "communication_data_type": "fp32" }""")]
    [InlineData("""{ "fp16": { "enabled": true }, "optimizer": { "type": "Muon" }, "csv_monitor": { "enabled": true } }""")]
    [InlineData("""{ "elasticity": { "enabled": true, "max_train_batch_size": 64, "micro_batch_sizes": [2, 4] } }""")]
    [InlineData("""{ "elasticity": { "enabled": false }, "comms_logger": { "enabled": false }, "checkpoint": { "tag_validation": "Warn" } }""")]
    public void Problems_WhatTheEngineDoes_IsNone(string json) =>
        Assert.Empty(EngineLimits.Problems(DeepSpeedConfig.Parse(json)));

    [Fact]
    public void ToJson_UnsupportedButValid_SaysBoth()
    {
        ConfigReport report = ConfigReport.For(
            """{ "train_batch_size": 8, "zero_optimization": { "stage": 3, "reduce_bucket_size": "auto" } }""", 2);

        using var json = System.Text.Json.JsonDocument.Parse(report.ToJson());
        Assert.True(json.RootElement.GetProperty("ok").GetBoolean());
        Assert.Equal("zero_optimization.stage", json.RootElement.GetProperty("unsupported")[0].GetProperty("path").GetString());
        Assert.Equal("zero_optimization.reduce_bucket_size", json.RootElement.GetProperty("unresolved_auto")[0].GetString());
    }
}
