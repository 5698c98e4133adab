using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>Reads <c>zero_optimization</c> in all the forms DeepSpeed takes.</summary>
internal static class ZeroReading
{
    private const string Key = "zero_optimization";

    /// <param name="root">The whole config.</param>
    /// <param name="allGatherSize">The top-level <c>allgather_size</c>, which belongs to the form <c>true</c>.</param>
    public static ZeroConfig Read(ConfigSection root, long? allGatherSize)
    {
        var defaults = new ZeroConfig();
        switch (root.Value(Key)?.ValueKind)
        {
            case null:
                if (root.Has(Key))
                {
                    root.Problem(Key, "null is not a section", "write { \"stage\": 0 } or remove the key");
                }

                return defaults;
            case JsonValueKind.False:
                return defaults;
            case JsonValueKind.True:
                return defaults with { Stage = 1, AllGatherBucketSize = allGatherSize ?? defaults.AllGatherBucketSize };
            case JsonValueKind.Object:
                return Read(root.Section(Key)!);
            case JsonValueKind.Number:
                string number = root.Value(Key)!.Value.GetRawText();
                root.Problem(Key, $"{number} is not a section",
                    number is "1" or "2" or "3" or "0" ? $"write {{ \"stage\": {number} }}; the number belongs to "
                        + "zero_optimization.stage" : "write { \"stage\": 1 }; zero_optimization.stage is 0, 1, 2 or 3");
                return defaults;
            default:
                root.Problem(Key, $"{root.Value(Key)!.Value.GetRawText()} is not a section", "write { \"stage\": 0 }");
                return defaults;
        }
    }

    private static ZeroConfig Read(ConfigSection section)
    {
        var defaults = new ZeroConfig();
        int stage = ReadStage(section);
        OffloadParamConfig? offloadParam = section.Section("offload_param") is { } param
            ? OffloadParamConfig.Read(param) : null;
        OffloadOptimizerConfig? offloadOptimizer = section.Section("offload_optimizer") is { } optimizer
            ? OffloadOptimizerConfig.Read(optimizer) : null;
        bool? pinned = section.Flag("cpu_offload_use_pin_memory");
        if (OldOffload(section, "cpu_offload_param", "offload_param"))
        {
            offloadParam ??= new() { Device = OffloadDevice.Cpu, PinMemory = pinned ?? true };
        }

        if (OldOffload(section, "cpu_offload", "offload_optimizer"))
        {
            offloadOptimizer ??= new() { Device = OffloadDevice.Cpu, PinMemory = pinned ?? true };
        }

        if (section.Value("zenflow") is not null)
        {
            section.Problem("zenflow", "ZenFlow is not supported", "remove it; \"offload_optimizer\" alone is enough");
        }

        var config = new ZeroConfig
        {
            Stage = stage,
            ContiguousGradients = section.Flag("contiguous_gradients") ?? defaults.ContiguousGradients,
            ReduceScatter = section.Flag("reduce_scatter") ?? defaults.ReduceScatter,
            ReduceBucketSize = section.Long("reduce_bucket_size", minimum: 1) ?? defaults.ReduceBucketSize,
            UseMultiRankBucketAllReduce =
                section.Flag("use_multi_rank_bucket_allreduce") ?? defaults.UseMultiRankBucketAllReduce,
            AllGatherPartitions = section.Flag("allgather_partitions") ?? defaults.AllGatherPartitions,
            AllGatherBucketSize = section.Long("allgather_bucket_size", minimum: 1) ?? defaults.AllGatherBucketSize,
            OverlapComm = section.Flag("overlap_comm") ?? stage == 3,
            LoadFromFp32Weights = section.Flag("load_from_fp32_weights") ?? defaults.LoadFromFp32Weights,
            ElasticCheckpoint = section.Flag("elastic_checkpoint") ?? defaults.ElasticCheckpoint,
            OffloadParam = offloadParam,
            OffloadOptimizer = offloadOptimizer,
            IgnoreUnusedParameters = section.Flag("ignore_unused_parameters") ?? defaults.IgnoreUnusedParameters,
            RoundRobinGradients = section.Flag("round_robin_gradients") ?? defaults.RoundRobinGradients,
            LegacyStage1 = section.Flag("legacy_stage1") ?? defaults.LegacyStage1,
            EnableSanityChecks = section.Flag("enable_sanity_checks") ?? defaults.EnableSanityChecks,
            SaveMuonMomentumBufferInMemory =
                section.Flag("save_muon_momentum_buffer_in_memory") ?? defaults.SaveMuonMomentumBufferInMemory,
            Stage3 = ZeroStage3Config.Read(section),
            PlusPlus = ZeroPlusPlusConfig.Read(section),
        };
        CheckOffload(section, config);
        section.End();
        return config;
    }

    private static int ReadStage(ConfigSection section)
    {
        const string Fix = "use 0, 1, 2 or 3";
        int stage = section.Int("stage", int.MinValue, int.MaxValue, Fix) ?? 0;
        if (stage is >= 0 and <= 3)
        {
            return stage;
        }

        section.Problem("stage", $"{stage} is not a ZeRO stage", Fix);
        return 0;
    }

    // The old key and the one that replaced it cannot both decide.
    private static bool OldOffload(ConfigSection section, string old, string replacement)
    {
        bool isOn = section.Flag(old) ?? false;
        if (section.Has(old) && section.Has(replacement))
        {
            section.Problem(old, $"it is the old form of {replacement}, which is there too", "remove it");
        }

        return isOn;
    }

    private static void CheckOffload(ConfigSection section, ZeroConfig config)
    {
        if (config is { OffloadParam.Device: not OffloadDevice.None, Stage: not 3 })
        {
            section.Problem(section.Has("offload_param") ? "offload_param" : "cpu_offload_param",
                $"parameters can be offloaded in stage 3 only, and this is stage {config.Stage}",
                "use \"stage\": 3, or remove it");
        }

        if (config is { OffloadOptimizer.Ratio: < 1, Stage: not 3 })
        {
            section.Problem("offload_optimizer.ratio",
                $"a part of the optimizer can be offloaded in stage 3 only, and this is stage {config.Stage}",
                "use \"stage\": 3, or a ratio of 1");
        }
    }
}
