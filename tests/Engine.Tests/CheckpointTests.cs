using System.Text;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class CheckpointTests : IDisposable
{
    private const string ModelFile = "zero_pp_rank_0_mp_rank_00_model_states.safetensors";

    private readonly string _folder = Directory.CreateTempSubdirectory("checkpoint-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(2, 2)]
    [InlineData(2, 1)]
    [InlineData(1, 4)]
    public void Load_AtAnyWorldSize_GoesOnAsIfNeverInterrupted(int savedBy, int loadedBy)
    {
        float[] uninterrupted = Ranks.Run(1, group => Train(group, steps: 8, save: null, load: null).Parameters)[0];
        Ranks.Run(savedBy, group => Train(group, steps: 3, save: _folder, load: null).Parameters);

        (float[] Parameters, JsonObject? ClientState)[] resumed = Ranks.Run(loadedBy, group => Train(group, steps: 5, save: null, load: _folder));

        Assert.All(resumed, r => Vectors.Close(uninterrupted, r.Parameters, 1e-5, 1e-6));
        Assert.All(resumed, r => Assert.Equal("""{"epoch":3,"note":"mine"}""", r.ClientState!.ToJsonString()));
    }

    [Fact]
    public void Load_NoCheckpoint_GivesNothing()
    {
        (float[] _, JsonObject? state) = Ranks.Run(2, group => Train(group, steps: 0, save: null, load: _folder))[0];

        Assert.Null(state);
    }

    [Fact]
    public void Load_ByTwiceTheRanksAfterAnOddStep_KeepsWholeAccumulationSteps()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2,
             "optimizer": {"type": "AdamW", "params": {"lr": 0.01}}}
            """);
        Ranks.Run(1, group => Run(group, microBatches: 2, save: true));

        long[] steps = Ranks.Run(2, group => Run(group, microBatches: 1, save: false));

        // One micro batch is half a step: nothing may be updated yet.
        Assert.All(steps, s => Assert.Equal(1, s));

        long Run(ProcessGroup group, int microBatches, bool save)
        {
            var model = new ToyModel();
            (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) = DeepSpeed.Initialize(model, config, new ToyData(), group, CPU);
            using (engine)
            {
                engine.LoadCheckpoint(_folder);
                for (int i = 0; i < microBatches; i++)
                {
                    (Tensor x, Tensor y) = loader!.Next();
                    using Tensor loss = engine.Forward(() => model.call(x, y));
                    engine.Backward(loss);
                    engine.Step();
                }

                _ = save ? engine.SaveCheckpoint(_folder) : null;
                return engine.GlobalSteps;
            }
        }
    }

    [Fact]
    public void Load_BuffersAndFrozenParameters_AreRestoredOnAllRanks()
    {
        Ranks.Run(1, group => With(group, (engine, model) =>
        {
            using (no_grad())
            {
                model.get_buffer("running_mean")!.fill_(7);
                model.weight!.fill_(5);
            }

            engine.SaveCheckpoint(_folder);
            return 0f;
        }));

        float[] sums = Ranks.Run(2, group => With(group, (engine, model) =>
        {
            engine.LoadCheckpoint(_folder);
            return model.get_buffer("running_mean")!.sum().ToSingle() + model.weight!.sum().ToSingle();
        }));

        Assert.All(sums, s => Assert.Equal(3 * 7 + 3 * 5, s));

        static T With<T>(ProcessGroup group, Func<DeepSpeedEngine, TorchSharp.Modules.BatchNorm1d, T> use)
        {
            TorchSharp.Modules.BatchNorm1d model = nn.BatchNorm1d(3);
            model.weight!.requires_grad = false;
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, EngineTests.Simple(), group, CPU);
            using (engine)
            {
                return use(engine, model);
            }
        }
    }

    [Theory]
    [InlineData("zero_pp_rank_0_mp_rank_00_model_states.safetensors")]
    [InlineData("zero_pp_rank_1_mp_rank_00_model_states.safetensors")]
    [InlineData("zero_pp_rank_1_mp_rank_00_optim_states.safetensors")]
    public void Load_OneByteChanged_AllRanksNameTheFile(string file)
    {
        Ranks.Run(2, group => Train(group, steps: 1, save: _folder, load: null));
        string path = Path.Combine(_folder, "global_step1", file);
        byte[] bytes = File.ReadAllBytes(path);
        bytes[^1] ^= 1;
        File.WriteAllBytes(path, bytes);

        string[] messages = Ranks.Run(2, group => Assert.Throws<CheckpointException>(() => Train(group, 0, null, _folder)).Message);

        Assert.All(messages, m => Assert.Contains(file, m, StringComparison.Ordinal));
    }

    [Fact]
    public void Load_FileCutShort_NamesItsSize()
    {
        Ranks.Run(1, group => Train(group, steps: 1, save: _folder, load: null));
        SavedCheckpoint.Cut(Path.Combine(_folder, "global_step1", ModelFile), 100);

        string message = Ranks.Run(1, group => Assert.Throws<CheckpointException>(() => Train(group, 0, null, _folder)).Message)[0];

        Assert.Contains($"{ModelFile} is 100 bytes", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("global_step9")]
    [InlineData("../elsewhere")]
    [InlineData("..")]
    [InlineData("a\0b")]
    public void Load_LatestNamesNoCheckpoint_TakesTheNewestCompleteOne(string latest)
    {
        Ranks.Run(1, group => Train(group, steps: 2, save: _folder, load: null));
        File.WriteAllText(Path.Combine(_folder, "latest"), latest);
        Directory.CreateDirectory(Path.Combine(_folder, "global_step9"));

        (_, JsonObject? state) = Ranks.Run(1, group => Train(group, steps: 0, save: null, load: _folder))[0];

        Assert.NotNull(state);
    }

    [Fact]
    public void Save_SameTagAgain_ReplacesIt()
    {
        Ranks.Run(1, group => Train(group, steps: 2, save: _folder, load: null));
        float[] second = Ranks.Run(1, group => Train(group, steps: 2, save: _folder, load: null).Parameters)[0];

        float[] loaded = Ranks.Run(1, group => Train(group, steps: 0, save: null, load: _folder).Parameters)[0];

        Assert.Equal(second, loaded);
        Assert.Equal(["global_step2"], Directory.GetDirectories(_folder).Select(Path.GetFileName));
    }

    [Fact]
    public void Save_FolderThatCannotBeMade_ThrowsOnAllRanks()
    {
        string file = Path.Combine(_folder, "a-file");
        File.WriteAllText(file, "");

        string[] messages = Ranks.Run(2, group => Assert.Throws<CheckpointException>(() => Train(group, 1, Path.Combine(file, "below"), null)).Message);

        Assert.All(messages, m => Assert.Contains("failed on rank 0", m, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("../elsewhere")]
    [InlineData("")]
    [InlineData(".hidden")]
    public void Save_TagThatIsNoName_IsRefused(string tag) => Ranks.Run(1, group =>
    {
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(new ToyModel(), EngineTests.Simple(), group, CPU);
        using (engine)
        {
            Assert.Throws<ArgumentException>(() => engine.SaveCheckpoint(_folder, tag));
        }
    });

    [Fact]
    public void Load_OfAnotherModel_ListsWhatDiffers()
    {
        Ranks.Run(1, group => Train(group, steps: 1, save: _folder, load: null));

        string message = Ranks.Run(1, group =>
        {
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(nn.Linear(2, 2), EngineTests.Simple(), group, CPU);
            using (engine)
            {
                return Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(_folder)).Message;
            }
        })[0];

        Assert.Contains("weight is missing", message, StringComparison.Ordinal);
        Assert.Contains("first.weight is not in the model", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("abc")]
    [InlineData("ffffffffffffffff")]
    [InlineData("0200000000000000{}")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,-4]}}")]
    [InlineData("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,8],\"data_offsets\":[0,0]}}")]
    [InlineData("{\"a\":{\"dtype\":\"F9\",\"shape\":[1],\"data_offsets\":[0,4]}}")]
    [InlineData("{\"a\":{\"shape\":\"x\"}}")]
    [InlineData("[1,2]")]
    public void Open_DamagedSafetensors_IsACheckpointError(string content)
    {
        string path = Path.Combine(_folder, "x.safetensors");
        byte[] header = Encoding.UTF8.GetBytes(content);
        File.WriteAllBytes(path, content is ['{', ..] or ['[', ..] ? [.. BitConverter.GetBytes((ulong)header.Length), .. header] : header);

        if (content == "0200000000000000{}")
        {
            File.WriteAllBytes(path, [200, 0, 0, 0, 0, 0, 0, 0, .. "{}"u8]);
        }

        Assert.Throws<CheckpointException>(() => new SafetensorsReader(path).Dispose());
    }

    [Fact]
    public void Write_SeveralTypes_ReadsBackEqual()
    {
        using var scope = NewDisposeScope();
        string path = Path.Combine(_folder, "types.safetensors");
        Tensor[] tensors = [randn(3, 4), randn(5).bfloat16(), arange(7), zeros(0), tensor(2.5), randn(2, 2).to(float16)];

        ShardFiles.WriteFile(path, [.. tensors.Select((t, i) => StatePiece.Whole($"t{i}", t))], new WritePace(BufferBytes: 8));
        using var reader = new SafetensorsReader(path);

        for (int i = 0; i < tensors.Length; i++)
        {
            using Tensor read = reader.Read($"t{i}");
            Assert.Equal(tensors[i].dtype, read.dtype);
            Assert.Equal(tensors[i].shape, read.shape);
            Assert.Equal(tensors[i].bytes.ToArray(), read.bytes.ToArray());
        }
    }

    private static (float[] Parameters, JsonObject? ClientState) Train(ProcessGroup group, int steps, string? save, string? load)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            {"train_batch_size": 4, "gradient_clipping": 0.5, "optimizer": {"type": "AdamW", "params": {"lr": 0.01}},
             "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 6}}}
            """);
        var model = new ToyModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, config, new ToyData(), group, CPU, shuffleSeed: 7);
        using (engine)
        {
            JsonObject? state = load is null ? null : engine.LoadCheckpoint(load).ClientState;
            for (int done = 0; done < steps;)
            {
                (Tensor x, Tensor y) = loader!.Next();
                using Tensor loss = engine.Forward(() => model.call(x, y));
                engine.Backward(loss);
                done += engine.Step() is null ? 0 : 1;
            }

            if (save is not null)
            {
                engine.SaveCheckpoint(save, clientState: new JsonObject { ["epoch"] = 3, ["note"] = "mine" });
            }

            return (model.Flat(), state);
        }
    }
}
