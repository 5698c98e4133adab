using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>Sections of DeepSpeed for features that do not exist here: fine when switched off, refused when on.</summary>
internal static class UnsupportedSections
{
    private sealed record Entry(string Name, string What, string Fix, string[] Keys, Func<JsonElement, string?>? SwitchedOn = null);

    private static readonly Entry[] Entries =
    [
        new("torch_autocast", "autocasting", "use \"bf16\" or \"fp16\"", ["enabled", "dtype", "lower_precision_safe_modules"]),
        new("wandb", "Weights & Biases", "use \"csv_monitor\" or \"tensorboard\"", ["enabled", "group", "team", "project"]),
        new("comet", "Comet", "use \"csv_monitor\" or \"tensorboard\"",
            ["enabled", "samples_log_interval", "project", "workspace", "api_key", "experiment_name", "experiment_key", "online", "mode"]),
        new("hybrid_engine", "the hybrid engine for RLHF", "remove it, and generate with the model itself",
            ["enabled", "max_out_tokens", "inference_tp_size", "release_inference_cache", "pin_parameters", "tp_gather_partition_size"]),
        new("compile", "DeepCompile", "remove it; models run eagerly",
            ["deepcompile", "free_activation", "offload_activation", "offload_opt_states", "double_buffer", "symmetric_memory",
                "debug_log", "offload_parameters", "sync_before_reduce", "sync_after_reduce", "sync_before_allgather",
                "sync_after_allgather", "keep_int_input_tensors", "keep_all_input_tensors", "passes"], e => On(e, "deepcompile")),
        new("tensor_parallel", "tensor parallelism", "use data parallelism: remove it",
            ["autotp_size", "dtype", "tp_overlap_comm", "tp", "partition_config", "preset_model"],
            e => Above(e, "autotp_size", 0) ?? (e.TryGetProperty("tp", out JsonElement tp) && Above(tp, "tp_size", 1) is { } key ? $"tp.{key}" : null)),
        new("sparse_attention", "sparse attention", "build the attention into the model",
            ["mode", "block", "different_layout_per_head", "num_local_blocks", "num_global_blocks", "attention",
                "horizontal_global_attention", "num_different_global_patterns", "num_random_blocks", "local_window_blocks",
                "global_block_indices", "global_block_end_indices", "num_sliding_window_blocks"], Filled),
        new("compression_training", "compression during training", "quantize or prune the trained model",
            ["weight_quantization", "activation_quantization", "sparse_pruning", "row_pruning", "head_pruning", "channel_pruning",
                "layer_reduction"], Compression),
        new("eigenvalue", "the eigenvalue of the loss", "remove it",
            ["enabled", "verbose", "max_iter", "tol", "stability", "gas_boundary_resolution", "layer_name", "layer_num"]),
        new("progressive_layer_drop", "progressive layer dropping", "use the model's dropout", ["enabled", "theta", "gamma"]),
        new("curriculum_learning", "curriculum learning", "order the data beforehand",
            ["enabled", "curriculum_type", "min_difficulty", "max_difficulty", "schedule_type", "schedule_config"]),
        new("data_efficiency", "data efficiency", "order the data beforehand",
            ["enabled", "seed", "data_sampling", "data_routing"]),
        new("pipeline", "pipeline parallelism", "use data parallelism: remove it",
            ["stages", "partition", "seed_layers", "activation_checkpoint_interval", "pipe_partitioned", "grad_partitioned"], Filled),
        new("autotuning", "autotuning", "try values by hand; deepspeed config check shows what they resolve to",
            ["enabled", "fast", "results_dir", "exps_dir", "overwrite", "start_profile_step", "end_profile_step", "tuner_type",
                "tuner_early_stopping", "tuner_num_trials", "metric", "min_train_micro_batch_size_per_gpu",
                "max_train_micro_batch_size_per_gpu", "num_tuning_micro_batch_sizes", "mp_size", "arg_mappings",
                "max_train_batch_size", "model_info", "model_info_path", "metric_path"]),
        new("nebula", "Nebula", "remove it; checkpoints are written as safetensors files",
            ["enabled", "persistent_storage_path", "persistent_time_interval", "num_of_version_in_retention",
                "enable_nebula_load", "load_path"]),
        new("datastates_ckpt", "DataStates", "remove it; checkpoints are written as safetensors files",
            ["host_cache_size", "parser_threads", "pin_host_cache"], Filled),
    ];

    /// <summary>Checks all of them.</summary>
    public static void Read(ConfigSection root)
    {
        foreach (Entry entry in Entries)
        {
            if (root.Section(entry.Name) is not { } section)
            {
                continue;
            }

            section.Accept(entry.Keys);
            bool isSwitch = entry.SwitchedOn is null;
            string? key = isSwitch ? section.Flag("enabled") == true ? "enabled" : null
                : entry.SwitchedOn!(root.Value(entry.Name)!.Value);
            if (key is { Length: > 0 })
            {
                section.Problem(key, $"{entry.What} is not supported", entry.Fix);
            }
            else if (key is not null)
            {
                root.Problem(entry.Name, $"{entry.What} is not supported", entry.Fix);
            }

            section.End();
        }
    }

    private static string? On(JsonElement section, string key) =>
        section.TryGetProperty(key, out JsonElement value) && bool.TryParse(value.ToString(), out bool on) && on ? key : null;

    private static string? Above(JsonElement section, string key, double limit) =>
        section.ValueKind == JsonValueKind.Object && section.TryGetProperty(key, out JsonElement value)
            && ConfigSection.AsNumber(value) > limit ? key : null;

    // Sections without a switch are on as soon as they say something.
    private static string? Filled(JsonElement section) => section.EnumerateObject().Any() ? "" : null;

    private static string? Compression(JsonElement section)
    {
        foreach (JsonProperty method in section.EnumerateObject().Where(p => p.Value.ValueKind == JsonValueKind.Object))
        {
            if (On(method.Value, "enabled") is not null)
            {
                return $"{method.Name}.enabled";
            }

            if (method.Value.TryGetProperty("shared_parameters", out JsonElement shared)
                && shared.ValueKind == JsonValueKind.Object && On(shared, "enabled") is not null)
            {
                return $"{method.Name}.shared_parameters.enabled";
            }
        }

        return null;
    }
}
