using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Config.Tests;

/// <summary>The resolved config is a DeepSpeed config again, and means the same.</summary>
public sealed class RoundTripTests
{
    private const string Everything = """
        {
          "train_micro_batch_size_per_gpu": 5, "gradient_accumulation_steps": "3", "steps_per_print": 7, "gradient_clipping": 0.5,
          "gradient_predivide_factor": 2, "gradient_allreduce_op": "sum", "communication_data_type": "bf16",
          "seq_parallel_communication_data_type": "fp16", "sparse_gradients": true, "disable_allgather": true,
          "memory_breakdown": true, "dump_state": true, "log_level": "info", "dataloader_drop_last": true,
          "managed_gradient_accumulation": false, "vocabulary_size": 50257, "sequence_parallel_size": 2, "data_parallel_size": 2,
          "use_data_before_expert_parallelism": true, "graph_harvesting": true, "zero_allow_untested_optimizer": true,
          "zero_force_ds_cpu_optimizer": false, "allgather_size": 1e6,
          "optimizer": { "type": "adamw", "params": { "lr": "3e-4", "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1,
            "bias_correction": false, "torch_adam": true, "fp32_optimizer_states": false, "max_grad_norm": 1 } },
          "scheduler": { "type": "WarmupDecayLR", "params": { "warmup_min_lr": [1e-5, 2e-5], "warmup_max_lr": 1e-3,
            "warmup_num_steps": 20, "total_num_steps": 1e3, "warmup_type": "linear" } },
          "bf16": { "enabled": true, "immediate_grad_update": true, "check_grad_overflow": false,
            "bf16_master_weights_and_grads": true, "bf16_optimizer_states": true },
          "fp16": { "auto_cast": true, "loss_scale": 128, "initial_scale_power": 8, "loss_scale_window": 10, "hysteresis": 4,
            "consecutive_hysteresis": true, "min_loss_scale": 2 },
          "data_types": { "grad_accum_dtype": "fp32", "param_dtype": "bf16", "buffer_dtype": "fp16" },
          "zero_optimization": { "stage": 1, "contiguous_gradients": false, "reduce_scatter": false, "reduce_bucket_size": 5e7,
            "use_multi_rank_bucket_allreduce": false, "allgather_partitions": false, "allgather_bucket_size": 4e7,
            "overlap_comm": true, "load_from_fp32_weights": false, "elastic_checkpoint": true,
            "offload_optimizer": { "device": "nvme", "nvme_path": "/disk", "buffer_count": 6, "pin_memory": false,
              "pipeline_read": true, "pipeline_write": true, "fast_init": true, "super_offload": true, "cpuadam_cores_perc": 0.5 },
            "offload_param": { "device": "none", "buffer_size": 1e6, "buffer_count": 2, "max_in_cpu": 5, "pin_memory": false },
            "sub_group_size": 1e7, "prefetch_bucket_size": 11, "stage3_param_persistence_threshold": 12,
            "stage3_model_persistence_threshold": 13, "max_live_parameters": 14, "stage3_max_reuse_distance": 15,
            "stage3_gather_fp16_weights_on_model_save": true, "module_granularity_threshold": 16,
            "use_all_reduce_for_fetch_params": true, "allgather_sequential": true, "memory_efficient_linear": false,
            "pipeline_loading_checkpoint": true, "override_module_apply": false, "log_trace_cache_warnings": true,
            "leaf_module": { "classes": ["A"], "names": ["b"], "name_suffixes": ["c"] },
            "ignore_unused_parameters": false, "round_robin_gradients": true, "legacy_stage1": true, "enable_sanity_checks": true,
            "save_muon_momentum_buffer_in_memory": true, "zero_hpz_partition_size": 2, "zero_quantized_weights": true,
            "zero_quantized_nontrainable_weights": true, "zero_quantized_gradients": true,
            "zeropp_loco_param": { "err_beta": 0.7, "reset_T": 10 }, "mics_shard_size": 2, "mics_hierarchical_params_gather": true },
          "activation_checkpointing": { "partition_activations": true, "contiguous_memory_optimization": true,
            "cpu_checkpointing": true, "number_checkpoints": 4, "synchronize_checkpoint_boundary": true, "profile": true },
          "flops_profiler": { "enabled": true, "recompute_fwd_factor": 0.5, "profile_step": 3, "module_depth": 2, "top_modules": 4,
            "detailed": false, "output_file": "flops.txt" },
          "tensorboard": { "enabled": true, "output_path": "out", "job_name": "a" },
          "csv_monitor": { "enabled": true, "output_path": "csv", "job_name": "b" },
          "comms_logger": { "enabled": true, "verbose": true, "prof_all": false, "debug": true, "prof_ops": ["all_reduce"] },
          "timers": { "throughput": { "enabled": false, "synchronized": false } },
          "checkpoint": { "tag_validation": "FAIL", "load_universal": true, "use_node_local_storage": true,
            "parallel_write": { "pipeline_stage": true }, "checkpoint_serialization": false,
            "writer": { "type": "PYTHON", "io_buffer_size": 1000, "io_buffer_double": false, "show_statistics": true,
              "data_parallel": "machine", "decoupled": true, "io_multiplier": 3 } },
          "elasticity": { "enabled": false, "max_train_batch_size": 100, "micro_batch_sizes": [1, 2], "min_gpus": 2, "max_gpus": 8,
            "min_time": 5, "prefer_larger_batch": false, "ignore_non_elastic_batch_info": true, "version": 0.1,
            "num_gpus_per_node": 8 },
          "aio": { "block_size": 4096, "queue_depth": 2, "thread_count": 3, "single_submit": true, "overlap_events": false,
            "use_gds": true },
          "amp": { "enabled": false }
        }
        """;

    public static TheoryData<string> Configs() =>
    [
        """{ "train_batch_size": 8 }""",
        Everything,
        """{ "train_batch_size": 8, "zero_optimization": true, "allgather_size": 5 }""",
        """{ "train_batch_size": 8, "zero_optimization": { "stage": 3, "cpu_offload_param": true, "cpu_offload": true } }""",
        """{ "train_batch_size": 8, "fp16": { "enabled": true }, "optimizer": { "type": "Adam", "params": { "max_grad_norm": 1 } } }""",
        .. ((string[])["SGD", "Lamb", "Lion", "Adagrad", "Muon"]).Select(t =>
            $$"""{ "train_batch_size": 8, "optimizer": { "type": "{{t}}", "params": { "lr": 0.3, "weight_decay": 0.1 } } }"""),
        """{ "train_batch_size": 8, "scheduler": { "type": "WarmupLR" } }""",
        """{ "train_batch_size": 8, "scheduler": { "type": "WarmupCosineLR", "params": { "total_num_steps": 9 } } }""",
        """{ "train_batch_size": 8, "scheduler": { "type": "OneCycle", "params": { "cycle_min_lr": 0.1, "cycle_max_lr": [0.2, 0.3], "cycle_second_step_size": 5 } } }""",
        """{ "train_batch_size": 8, "scheduler": { "type": "LRRangeTest" } }""",
    ];

    [Theory]
    [MemberData(nameof(Configs))]
    public void Resolved_ReadAgain_GivesAnEqualConfig(string json)
    {
        ConfigReport first = ConfigReport.For(json, 4);
        Assert.True(first.IsValid, string.Join("; ", first.Errors));

        ConfigReport second = ConfigReport.For(first.Resolved().ToJsonString(), 4);

        Assert.True(second.IsValid, string.Join("; ", second.Errors));
        Assert.Equal(first.Config, second.Config);
        Assert.Equal(first.ToJson(), second.ToJson());
    }

    // Each key of the long config differs from its default, so a key that were read and lost would show here.
    [Fact]
    public void Resolved_EveryKey_KeepsWhatWasWritten()
    {
        JsonObject resolved = ConfigReport.For(Everything, 4).Resolved();
        JsonObject defaults = ConfigReport.For("""{ "train_batch_size": 8 }""", 4).Resolved();

        List<string> same = [];
        Compare(resolved, defaults, "", same);

        Assert.Equal(
        [
            "amp.enabled", // both would be an error, and these two belong to fp16 and to no config at all
            "elasticity.enabled",
            "elasticity.model_parallel_size",
            "fp16.enabled",
            "fp16.fp16_master_weights_and_grads",
            "prescale_gradients", // instead of the factor
        ], same.Order(StringComparer.Ordinal));
    }

    private static void Compare(JsonObject resolved, JsonObject defaults, string path, List<string> same)
    {
        foreach ((string key, JsonNode? value) in resolved)
        {
            JsonNode? other = defaults[key];
            if (value is JsonObject inner && other is JsonObject otherInner)
            {
                Compare(inner, otherInner, $"{path}{key}.", same);
            }
            else if (JsonNode.DeepEquals(value, other))
            {
                same.Add(path + key);
            }
        }
    }
}
