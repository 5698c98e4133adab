namespace DeepSpeedSharp.Config.Tests;

public sealed class EngineLimitsTests
{
    [Theory]
    [InlineData("""{ "zero_optimization": { "stage": 3, "pipeline_loading_checkpoint": true } }""", "zero_optimization.pipeline_loading_checkpoint: this setting is not supported yet; use false")]
    [InlineData("""{ "zero_optimization": { "stage": 2 }, "optimizer": { "type": "Lamb" } }""", "optimizer.type: Lamb looks at whole parameters, and under ZeRO a rank has shards of them only (zero_allow_untested_optimizer does not change that); use Adam, AdamW, Lion, Adagrad or SGD, or zero_optimization.stage 0")]
    [InlineData("""{ "zero_optimization": true, "sparse_gradients": true }""", "sparse_gradients: gradients are not reduced by rows under ZeRO; remove it, or use zero_optimization.stage 0")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "zero_quantized_gradients": true } }""", "zero_optimization.zero_quantized_gradients: this setting is not supported yet; remove it")]
    [InlineData("""{ "zero_optimization": { "stage": 1, "enable_sanity_checks": true } }""", "zero_optimization.enable_sanity_checks: this setting is not supported yet; remove it, or use stage 3")]
    [InlineData("""{ "zero_optimization": { "cpu_offload": true } }""", "zero_optimization.offload_optimizer: the optimizer's state can be offloaded in stages 1 to 3, and this is stage 0; use \"stage\": 1 or more, also with one rank, or remove it")]
    [InlineData("""{ "zero_optimization": { "stage": 3, "offload_optimizer": { "device": "cpu", "super_offload": true } } }""", "zero_optimization.offload_optimizer.super_offload: SuperOffload, for a GPU and a CPU that share one memory, is not supported; remove it; \"device\": \"cpu\" overlaps the copies with the update")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "cpu" } }, "optimizer": { "type": "SGD" } }""", "optimizer.type: SGD has no fast update on the CPU, where the optimizer is offloaded to; use Adam, AdamW, Lion or Adagrad without torch_adam, or set \"zero_force_ds_cpu_optimizer\": false")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "nvme", "nvme_path": "/disk", "buffer_count": 2 } }, "optimizer": { "type": "Lion" } }""", "zero_optimization.offload_optimizer.buffer_count: Lion needs 3 buffers at a time, and there are to be 2; use 3 or more")]
    [InlineData("""{ "zero_optimization": { "legacy_stage1": true } }""", "zero_optimization.legacy_stage1: the first version of stage 1 does not exist any more; remove it")]
    [InlineData("""{ "amp": { "enabled": true } }""", "amp.enabled: mixed precision by Apex is not supported; use \"bf16\" or \"fp16\"")]
    [InlineData("""{ "optimizer": { "type": "Adam", "params": { "max_grad_norm": 1 } } }""", "optimizer.params.max_grad_norm: clipping is not an optimizer parameter; write \"gradient_clipping\" at the top level instead")]
    [InlineData("""{ "sequence_parallel_size": 2 }""", "sequence_parallel_size: this setting is not supported yet; use 1")]
    [InlineData("""{ "activation_checkpointing": { "cpu_checkpointing": true, "number_checkpoints": 4, "profile": true } }""", "activation_checkpointing.profile: this setting is not supported yet; use false")]
    [InlineData("""{ "data_types": { "grad_accum_dtype": "bf16" } }""", "data_types.grad_accum_dtype: bf16 gradients of fp32 parameters are not supported; use \"fp32\", or remove it")]
    [InlineData("""{ "checkpoint": { "use_node_local_storage": true } }""", "checkpoint.use_node_local_storage: this setting is not supported yet; use false, and a folder that all nodes share")]
    [InlineData("""{ "checkpoint": { "writer": { "type": "MOCK" } } }""", "checkpoint.writer.type: a checkpoint that is not written is none; use \"FAST\"")]
    [InlineData("""{ "checkpoint": { "writer": { "data_parallel": "socket" } } }""", "checkpoint.writer.data_parallel: this setting is not supported yet; use \"replica\": all ranks write")]
    [InlineData("""{ "checkpoint": { "writer": { "io_multiplier": 2 } } }""", "checkpoint.writer.io_multiplier: this setting is not supported yet; use 1")]
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
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "cpu" } }, "optimizer": { "type": "Adam" } }""")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "cpu" } }, "optimizer": { "type": "SGD" }, "zero_force_ds_cpu_optimizer": false }""")]
    [InlineData("""{ "zero_optimization": { "stage": 3, "offload_optimizer": { "device": "nvme", "nvme_path": "/disk", "ratio": 0.3 }, "offload_param": { "device": "cpu" } }, "optimizer": { "type": "AdamW" } }""")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "overlap_comm": true, "contiguous_gradients": false, "reduce_scatter": false, "round_robin_gradients": true, "ignore_unused_parameters": false, "load_from_fp32_weights": false } }""")]
    [InlineData("""{ "zero_optimization": { "stage": 3, "enable_sanity_checks": true, "stage3_prefetch_bucket_size": 1, "stage3_max_live_parameters": 1, "stage3_max_reuse_distance": 1, "stage3_param_persistence_threshold": 1, "stage3_model_persistence_threshold": 1, "stage3_module_granularity_threshold": 1, "stage3_gather_16bit_weights_on_model_save": true, "stage3_use_all_reduce_for_fetch_params": true, "stage3_allgather_sequential": true, "leaf_module": { "classes": ["Block"] } } }""")]
    [InlineData("""{ "optimizer": { "type": "AdamW" }, "scheduler": { "type": "WarmupLR" }, "communication_data_type": "fp32" }""")]
    [InlineData("""{ "fp16": { "enabled": true }, "optimizer": { "type": "Muon" }, "csv_monitor": { "enabled": true } }""")]
    [InlineData("""{ "elasticity": { "enabled": false }, "comms_logger": { "enabled": true }, "checkpoint": { "tag_validation": "Warn", "load_universal": true } }""")]
    [InlineData("""{ "checkpoint": { "writer": { "type": "FAST", "io_buffer_size": 1e6, "io_buffer_double": false, "show_statistics": true, "data_parallel": "replica", "decoupled": true } } }""")]
    [InlineData("""{ "elasticity": { "enabled": true, "max_train_batch_size": 64, "micro_batch_sizes": [2, 4] } }""")]
    public void Problems_WhatTheEngineDoes_IsNone(string json) =>
        Assert.Empty(EngineLimits.Problems(DeepSpeedConfig.Parse(json)));

    [Fact]
    public void ToJson_UnsupportedButValid_SaysBoth()
    {
        ConfigReport report = ConfigReport.For(
            """{ "train_batch_size": 8, "zero_optimization": { "stage": 3, "zero_quantized_weights": true, "reduce_bucket_size": "auto" } }""", 2);

        using var json = System.Text.Json.JsonDocument.Parse(report.ToJson());
        Assert.True(json.RootElement.GetProperty("ok").GetBoolean());
        Assert.Equal("zero_optimization.zero_quantized_weights", json.RootElement.GetProperty("unsupported")[0].GetProperty("path").GetString());
        Assert.Equal("zero_optimization.reduce_bucket_size", json.RootElement.GetProperty("unresolved_auto")[0].GetString());
    }
}
