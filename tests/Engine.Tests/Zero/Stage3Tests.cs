using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>Partitioned parameters in a model that makes it hard, against stage 0.</summary>
public sealed class Stage3Tests
{
    private const string Nothing = "\"stage3_param_persistence_threshold\": 0, \"stage3_max_reuse_distance\": 0, \"stage3_prefetch_bucket_size\": 0";

    // Every setting changes when parameters are gathered, and none what is computed. The gradients are stage 2's, whose sums
    // over micro batches and ranks are in another order than stage 0's.
    [Theory]
    [InlineData(1, Nothing, false)]
    [InlineData(2, Nothing, false)]
    [InlineData(2, Nothing, true)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 0", false)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 0", true)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 0, \"stage3_max_reuse_distance\": 0", false)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 0, \"stage3_max_reuse_distance\": 0", true)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 0, \"stage3_max_live_parameters\": 70", true)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 6", false)]
    [InlineData(2, "\"stage3_param_persistence_threshold\": 6, \"stage3_model_persistence_threshold\": 10", false)]
    [InlineData(2, "\"stage\": 3", true)]
    [InlineData(2, Nothing + ", \"stage3_allgather_sequential\": true", false)]
    [InlineData(2, Nothing + ", \"stage3_use_all_reduce_for_fetch_params\": true", false)]
    [InlineData(2, Nothing + ", \"stage3_module_granularity_threshold\": 100", false)]
    [InlineData(2, Nothing + ", \"leaf_module\": {\"classes\": [\"Block\"]}", true)]
    [InlineData(2, Nothing + ", \"leaf_module\": {\"names\": [\"first\"], \"name_suffixes\": [\"cond\"]}", false)]
    [InlineData(2, Nothing + ", \"enable_sanity_checks\": true, \"log_trace_cache_warnings\": true", false)]
    [InlineData(2, Nothing + ", \"reduce_bucket_size\": 1, \"overlap_comm\": false", false)]
    [InlineData(2, Nothing + ", \"contiguous_gradients\": false, \"reduce_scatter\": false", false)]
    public void Train_AnySettings_EqualsStageTwoToTheBit(int ranks, string keys, bool checkpoints)
    {
        string zero = keys.Contains("\"stage\"", StringComparison.Ordinal) ? $"{{{keys}}}" : $"{{\"stage\": 3, {keys}}}";
        float[][] partitioned = Ranks.Run(ranks, group => Train(group, zero, checkpoints));
        float[][] plain = Ranks.Run(ranks, group => Train(group, """{"stage": 2}""", checkpoints));

        Assert.All(partitioned, values => Assert.Equal(plain[0], values));
    }

    [Theory]
    [InlineData(3)]
    [InlineData(4)]
    public void Train_MoreRanks_EqualsStageZeroWithinRounding(int ranks)
    {
        float[][] partitioned = Ranks.Run(ranks, group => Train(group, $"{{\"stage\": 3, {Nothing}}}", true));
        float[][] plain = Ranks.Run(ranks, group => Train(group, """{"stage": 0}""", true));

        Assert.All(partitioned, values => Assert.Equal(partitioned[0], values));
        Vectors.Close(plain[0], partitioned[0], 1e-5, 1e-6);
    }

    // What a run does between its steps must not disturb them.
    [Theory]
    [InlineData("evaluates")]
    [InlineData("evaluates while training")]
    [InlineData("throws")]
    [InlineData("two forwards")]
    [InlineData("retains")]
    [InlineData("gathers")]
    public void Train_WithOtherThingsBetween_EqualsStageTwoToTheBit(string between)
    {
        string keys = "\"stage3_param_persistence_threshold\": 0";
        float[][] partitioned = Ranks.Run(2, group => Train(group, $"{{\"stage\": 3, {keys}}}", true, between));
        float[][] plain = Ranks.Run(2, group => Train(group, """{"stage": 2}""", true, between));

        Assert.All(partitioned, values => Assert.Equal(plain[0], values));
    }

    [Fact]
    public void Forward_RanksTakeDifferentPaths_AreToldSo()
    {
        string[] messages = Ranks.Run(2, group =>
        {
            var left = nn.Linear(4, 4);
            var right = nn.Linear(4, 4);
            using DeepSpeedEngine engine = Make(group, nn.Sequential(("left", left), ("right", right)), $"{{\"stage\": 3, {Nothing}}}");
            return Assert.Throws<InvalidOperationException>(() =>
                engine.Forward(() => (group.Rank == 0 ? left : right).call(ones(1, 4)).sum()).Dispose()).Message;
        });

        Assert.Contains("rank 1 needs the parameters of right where rank 0 needs the parameters of left", messages[0], StringComparison.Ordinal);
        Assert.All(messages, m => Assert.Contains("the ranks take different paths", m, StringComparison.Ordinal));
    }

    [Fact]
    public void Forward_ParameterUsedOutsideItsModule_IsNamed()
    {
        string[] messages = Ranks.Run(2, group =>
        {
            var words = nn.Linear(4, 4);
            using DeepSpeedEngine engine = Make(group, nn.Sequential(("words", words), ("other", nn.Linear(4, 4))), $"{{\"stage\": 3, {Nothing}}}");
            return Assert.Throws<InvalidOperationException>(() =>
                engine.Forward(() => words.call(ones(1, 4)).matmul(words.weight!.t()).sum()).Dispose()).Message;
        });

        Assert.All(messages, m => Assert.StartsWith("words.weight is used outside the module that owns it", m, StringComparison.Ordinal));
        Assert.All(messages, m => Assert.Contains("RegisterExternalParameter", m, StringComparison.Ordinal));
    }

    // Built by rank 0's values or by everybody's own, a model trains as one that stood whole.
    [Theory]
    [InlineData(true, "")]
    [InlineData(false, "")]
    [InlineData(true, "\"bf16\": {\"enabled\": true},")]
    public void Init_AModelBuiltShardByShard_TrainsAsAWholeOne(bool fromRankZero, string rest)
    {
        float[][] built = Ranks.Run(3, group =>
        {
            OddModel model;
            using (DeepSpeed.Zero.Init(group, fromRankZero))
            {
                model = DeepSpeed.Zero.Partition(new OddModel());
                Assert.True(float.IsNaN(model.first.weight!.sum().item<float>()));
            }

            return Continue(group, model, rest);
        });
        float[][] whole = Ranks.Run(3, group => Continue(group, new OddModel(), rest));

        Assert.All(built, values => Assert.Equal(whole[0], values));

        static float[] Continue(ProcessGroup group, OddModel model, string rest)
        {
            (DeepSpeedEngine engine, _, Data.DataLoader<(Tensor X, Tensor Y)>? loader, _) = DeepSpeed.Initialize(model, DeepSpeedConfig.Parse($$"""
                {"train_micro_batch_size_per_gpu": 2, {{rest}} "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
                 "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
                """), new OddData(), group, CPU, printsProgress: false);
            using (engine)
            {
                ZeroRun.Step(engine, model, loader!);
                ZeroRun.Step(engine, model, loader!);
                return model.Flat();
            }
        }
    }

    [Fact]
    public void Init_InAStageThatPartitionsNothing_IsRefused()
    {
        Exception[] errors = Ranks.Run(2, group =>
        {
            OddModel model;
            using (DeepSpeed.Zero.Init(group))
            {
                model = DeepSpeed.Zero.Partition(new OddModel());
            }

            return Assert.Throws<InvalidOperationException>(() => Make(group, model, """{"stage": 2}""").Dispose());
        });

        Assert.All(errors, e => Assert.Contains("use stage 3", e.Message, StringComparison.Ordinal));
    }

    // The ranks together read the file once.
    [Fact]
    public void Load_PartitionedParameters_EachRankReadsItsPartOnly()
    {
        const int ranks = 4;
        string path = Path.GetTempFileName();
        try
        {
            var stored = new OddModel();
            Write(path, stored);
            (long read, float[] values)[] all = Ranks.Run(ranks, group =>
            {
                using var file = new Checkpoint.SafetensorsReader(path);
                OddModel model;
                using (DeepSpeed.Zero.Init(group, fromRankZero: false))
                {
                    model = DeepSpeed.Zero.Partition(new OddModel());
                }

                foreach ((string name, TorchSharp.Modules.Parameter parameter) in model.named_parameters())
                {
                    DeepSpeed.Zero.Load(parameter, file, name);
                }

                return (file.BytesRead, model.Flat());
            });

            Assert.All(all, a => Assert.Equal(stored.Flat(), a.values));
            Assert.Equal(stored.parameters().Sum(p => p.numel() * sizeof(float)), all.Sum(a => a.read));
        }
        finally
        {
            File.Delete(path);
        }

        static void Write(string path, OddModel model)
        {
            using (no_grad())
            {
                foreach (TorchSharp.Modules.Parameter parameter in model.parameters())
                {
                    parameter.add_(1);
                }
            }

            Checkpoint.ShardFiles.WriteFile(path, [.. model.named_parameters().Select(p => Checkpoint.StatePiece.Whole(p.name, p.parameter.detach()))], new Checkpoint.WritePace());
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Save16BitModel_IsWrittenWhenItMayBeGathered(bool mayGather)
    {
        string folder = Directory.CreateTempSubdirectory("stage3-").FullName;
        try
        {
            Ranks.Run(3, group =>
            {
                var model = new OddModel();
                using DeepSpeedEngine engine = Make(group, model, $"{{\"stage\": 3, {Nothing}, \"stage3_gather_16bit_weights_on_model_save\": {(mayGather ? "true" : "false")}}}");
                if (!mayGather)
                {
                    Assert.Contains("stage3_gather_16bit_weights_on_model_save", Assert.Throws<InvalidOperationException>(() => engine.Save16BitModel(folder)).Message, StringComparison.Ordinal);
                    return;
                }

                using var file = new Checkpoint.SafetensorsReader(engine.Save16BitModel(folder));
                using Tensor weight = file.Read("second.weight");
                using var whole = DeepSpeed.Zero.GatheredParameters([model.second.weight!]);
                Assert.Equal(model.second.weight!.data<float>().ToArray(), weight.data<float>().ToArray());
            });
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Initialize_LeafModuleThatIsNotThere_IsNamed() => Ranks.Run(1, group =>
    {
        var error = Assert.Throws<ArgumentException>(() => Make(group, nn.Linear(2, 2), """{"stage": 3, "leaf_module": {"names": ["blokc"]}}""").Dispose());

        Assert.Contains("no module blokc", error.Message, StringComparison.Ordinal);
    });

    [Fact]
    public void GatheredParameters_WithAModifier_GivesAllRanksItsValues()
    {
        float[][] seen = Ranks.Run(3, group =>
        {
            var model = nn.Linear(5, 3);
            using DeepSpeedEngine engine = Make(group, model, $"{{\"stage\": 3, {Nothing}}}");
            using (DeepSpeed.Zero.GatheredParameters(model.parameters(), modifierRank: 1))
            using (no_grad())
            {
                model.weight!.fill_(group.Rank + 5);
            }

            using (DeepSpeed.Zero.GatheredParameters(model.parameters()))
            using (no_grad())
            {
                model.weight!.fill_(9); // nobody's change
            }

            using (DeepSpeed.Zero.GatheredParameters(model.parameters()))
            {
                return model.weight!.data<float>().ToArray();
            }
        });

        Assert.All(seen, values => Assert.Equal(Enumerable.Repeat(6f, 15), values));
    }

    [Fact]
    public void GatheredParameters_InsideAnotherOfTheSame_IsRefusedByName() => Ranks.Run(1, group =>
    {
        var model = nn.Linear(5, 3);
        using DeepSpeedEngine engine = Make(group, model, """{"stage": 3}""");
        using IDisposable outer = DeepSpeed.Zero.GatheredParameters([model.weight!]);

        var error = Assert.Throws<InvalidOperationException>(() => DeepSpeed.Zero.GatheredParameters(model.parameters()));

        Assert.StartsWith("weight is in an outer GatheredParameters", error.Message, StringComparison.Ordinal);
    });

    [Fact]
    public void Parameters_OutsideTheirModule_KeepTheirShapeAndReadAsNaN() => Ranks.Run(2, group =>
    {
        var model = nn.Linear(5, 3);
        using DeepSpeedEngine engine = Make(group, model, $"{{\"stage\": 3, {Nothing}}}");

        Assert.Equal([3, 5], model.weight!.shape);
        Assert.All(model.weight!.sum(1).data<float>().ToArray(), v => Assert.True(float.IsNaN(v)));
    });

    private static float[] Train(ProcessGroup group, string zero, bool checkpoints, string between = "")
    {
        var model = new WindingModel { Checkpoints = checkpoints };
        using DeepSpeedEngine engine = Make(group, model, zero, accumulation: 2);
        for (int micro = 0; micro < 8; micro++)
        {
            using DisposeScope scope = NewDisposeScope();
            (Tensor tokens, Tensor targets) = WindingModel.Batch(micro * group.WorldSize + group.Rank);
            Disturb(engine, model, between, tokens, targets);
            Tensor loss = engine.Forward(() => between == "two forwards"
                ? model.call(tokens, targets) + model.call(targets, tokens) : model.call(tokens, targets));
            if (between == "retains")
            {
                using (engine.CoalesceGradReduction())
                {
                    engine.Backward(loss, retainGraph: true);
                    engine.Backward(loss);
                }
            }
            else
            {
                engine.Backward(loss);
            }

            engine.Step();
        }

        return model.Flat();
    }

    private static void Disturb(DeepSpeedEngine engine, WindingModel model, string between, Tensor tokens, Tensor targets)
    {
        switch (between)
        {
            case "evaluates":
                using (no_grad())
                {
                    engine.Eval();
                    Assert.False(float.IsNaN(model.call(tokens, targets).ToSingle()));
                    engine.Train();
                }

                break;
            case "evaluates while training":
                Assert.False(float.IsNaN(model.call(tokens, targets).ToSingle()));
                break;
            case "throws":
                model.Throws = true;
                Assert.Throws<InvalidDataException>(() => engine.Forward(() => model.call(tokens, targets)));
                model.Throws = false;
                break;
            case "gathers":
                using (DeepSpeed.Zero.GatheredParameters(model.parameters()))
                {
                    Assert.False(float.IsNaN(model.call(tokens, targets).ToSingle()));
                }

                break;
        }
    }

    private static DeepSpeedEngine Make(ProcessGroup group, nn.Module model, string zero, int accumulation = 1) => DeepSpeed.Initialize(model,
        DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": {{accumulation}}, "gradient_clipping": 0, "zero_optimization": {{zero}},
             "optimizer": {"type": "SGD", "params": {"lr": 0.3} } }
            """), group, CPU, printsProgress: false).Engine;
}
