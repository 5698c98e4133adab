using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Checkpoints;
using DeepSpeedSharp.Worker.Tests;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary><c>deepspeed checkpoint</c>, on checkpoints that two ranks have cut in odd places.</summary>
public sealed class CheckpointCommandTests : IDisposable
{
    private readonly JobFolder _folder = new();

    private static float[] Weight { get; } = [.. Enumerable.Range(0, 35).Select(i => (i - 17) * 1.001f)];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task List_ForPeopleAndPrograms_ShowsEachWithTheLatestMarked()
    {
        Save(1, [("w", [5, 7], Weight)]);
        Save(2, [("w", [5, 7], Weight)]);
        File.WriteAllText(_folder.Of("global_step1/manifest.json"), "{");

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "list", ".");
        (int jsonCode, string json) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "list", ".", "--json");

        Assert.Equal((0, 0), (code, jsonCode));
        Assert.Contains("* global_step2  step 2, 35 values", text, StringComparison.Ordinal);
        Assert.Contains("  global_step1  not readable: ", text, StringComparison.Ordinal);
        JsonElement list = JsonDocument.Parse(json).RootElement;
        Assert.Equal("global_step2", list.GetProperty("latest").GetString());
        Assert.Equal([("global_step2", true), ("global_step1", false)], list.GetProperty("checkpoints").EnumerateArray()
            .Select(c => (c.GetProperty("tag").GetString()!, c.GetProperty("latest").GetBoolean())));
    }

    [Fact]
    public async Task Verify_AChangedByte_NamesTheFileAndEndsWith65()
    {
        Save(1, [("w", [5, 7], Weight)]);
        (int good, string whole) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "verify", ".");
        byte[] bytes = File.ReadAllBytes(_folder.Of("global_step1/b.safetensors"));
        bytes[^3] ^= 4;
        File.WriteAllBytes(_folder.Of("global_step1/b.safetensors"), bytes);

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "verify", ".", "--tag", "global_step1");
        (int jsonCode, string json) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "verify", "global_step1", "--json");

        Assert.Equal((0, 65, 65), (good, code, jsonCode));
        Assert.Contains("is whole: 2 files", whole, StringComparison.Ordinal);
        Assert.Contains("b.safetensors has not the w[18:35] that its checksum says", text, StringComparison.Ordinal);
        Assert.False(JsonDocument.Parse(json).RootElement.GetProperty("ok").GetBoolean());
    }

    [Fact]
    public async Task Verify_NoCheckpoint_SaysWhatIsExpected()
    {
        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "verify", ".");

        Assert.Equal(65, code);
        Assert.Contains("has no file latest", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--tag is global_step7, and there is no such checkpoint in .; give --tag with one of global_step2, global_step1", "verify", ".", "--tag", "global_step7")]
    [InlineData("--tag is something that is no tag", "verify", ".", "--tag", "../x")]
    [InlineData("nowhere is not a folder", "verify", "nowhere")]
    [InlineData("global_step1 is one checkpoint", "list", "global_step1")]
    [InlineData("global_step1 has checkpoints; give another folder", "consolidate", ".", "global_step1")]
    [InlineData(". has checkpoints; give another folder", "consolidate", ".", ".")]
    [InlineData("ds.json is a file; give a folder", "consolidate", ".", "ds.json")]
    public async Task Checkpoint_WrongFolderOrTag_SaysWhichThereAre(string expected, params string[] words)
    {
        Save(1, [("w", [5, 7], Weight)]);
        Save(2, [("w", [5, 7], Weight)]);
        _folder.Write("ds.json", "{}");

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, ["checkpoint", .. words]);

        Assert.Equal(65, code);
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gone", "latest names gone, and there is no such checkpoint")]
    [InlineData("", "latest names nothing, and there is no such checkpoint")]
    [InlineData("a\0b", "latest names something that is no tag")]
    [InlineData("../elsewhere/global_step1", "latest names something that is no tag")]
    public async Task Verify_DamagedLatest_NamesTheCheckpointsThereAre(string latest, string expected)
    {
        Save(1, [("w", [5, 7], Weight)]);
        _folder.Write("latest", latest);

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "verify", ".");
        (int listed, string list) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "list", ".");

        Assert.Equal((65, 0), (code, listed));
        Assert.Contains(expected, text, StringComparison.Ordinal);
        Assert.Contains("one of global_step1", text, StringComparison.Ordinal);
        Assert.Contains("latest names none of them", list, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("bf16")]
    [InlineData("fp16")]
    public async Task Consolidate_AnyType_JoinsThePiecesOfAllRanks(string type)
    {
        Save(1, [("w", [5, 7], Weight), ("a", [4], [1, 2, 3, 70000])]);
        _folder.Write("config.json", """{"model_type": "gpt2"}""");
        _folder.Write("tokenizer.json", "{}");

        (int code, string json) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "consolidate", ".", "out", "--dtype", type, "--json");

        Assert.True(code == 0, json);
        Assert.Equal(type == "fp16" ? 1 : 0, JsonDocument.Parse(json).RootElement.GetProperty("beyond_range").GetInt64());
        using var file = new SafetensorsFile(_folder.Of("out/model.safetensors"));
        SafetensorsEntry entry = file.Find("w")!;
        Assert.Equal([5L, 7L], entry.Shape);
        var bytes = new byte[entry.Bytes];
        file.Read(entry, 0, bytes);
        Assert.Equal(Weight.Select(v => Rounded(v, type)), Read(bytes, type));
        Assert.Contains("torch_dtype", File.ReadAllText(_folder.Of("out/config.json")), StringComparison.Ordinal);
        Assert.True(File.Exists(_folder.Of("out/tokenizer.json")));
    }

    [Fact]
    public async Task Consolidate_SmallFiles_WritesAnIndex()
    {
        Save(1, [("a", [4], [1, 2, 3, 4]), ("b", [4], [5, 6, 7, 8]), ("c", [1], [9])]);

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "consolidate", ".", "out", "--max-shard-size", "20B");
        (int again, string refused) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "consolidate", ".", "out");

        Assert.True(code == 0, text);
        JsonNode index = JsonNode.Parse(File.ReadAllText(_folder.Of("out/model.safetensors.index.json")))!;
        Assert.Equal(36, index["metadata"]!["total_size"]!.GetValue<long>());
        Assert.Equal(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            index["weight_map"]!.AsObject().Select(pair => pair.Value!.GetValue<string>()));
        Assert.Equal(65, again);
        Assert.Contains("has weights already", refused, StringComparison.Ordinal);
    }

    // With a learning rate of 0 the exported weights are those of the start, so the first loss is the same to the bit.
    [Fact]
    public async Task Consolidate_CheckpointOfTheWorker_TrainsOnFromTheFolder()
    {
        _folder.Write("ds.json", """{ "train_micro_batch_size_per_gpu": 2, "optimizer": { "type": "AdamW", "params": { "lr": 0, "weight_decay": 0 } } }""");
        string arguments = $"--data {LossCurve.Tokens} --sequence-length 16 --deepspeed {_folder.Of("ds.json")} --max-steps 1";
        using RunningWorker first = RunningWorker.Start(0, 1, TestPorts.Free(),
            $"train --model {LossCurve.Folder} {arguments} --checkpoint-dir {_folder.Of("saved")}");
        Assert.True(first.Wait() == 0, first.Output);

        (int code, string text) = await LauncherProcess.RunAsync(_folder.Path, "checkpoint", "consolidate", "saved", "out", "--max-shard-size", "20KB");
        Assert.True(code == 0, text);
        using RunningWorker second = RunningWorker.Start(0, 1, TestPorts.Free(),
            $"train --model {_folder.Of("out")} {arguments} --metrics-file {_folder.Of("again.jsonl")}");

        Assert.True(second.Wait() == 0, second.Output);
        Assert.True(Directory.GetFiles(_folder.Of("out"), "model-*").Length > 1, text);
        Assert.Equal(MetricsLine.Read(_folder.Of("saved", "metrics.jsonl"))[0].Loss, MetricsLine.Read(_folder.Of("again.jsonl"))[0].Loss);
    }

    // The model is many times what the program may have: it ends with 134 as soon as it keeps a tensor.
    [Fact]
    public async Task Consolidate_ModelLargerThanMemory_Streams()
    {
        const int Elements = 50_000_000; // 200 MB
        Save(1, [("large", [Elements], new float[Elements])]);

        using LauncherProcess program = LauncherProcess.Start(_folder.Path, [("DOTNET_GCHeapHardLimit", "0x4000000")],
            "checkpoint", "consolidate", ".", "out", "--dtype", "bf16");
        (int code, string text) = (await program.ExitAsync(), program.Text);

        Assert.True(code == 0, text);
        Assert.InRange(new FileInfo(_folder.Of("out/model.safetensors")).Length, 2L * Elements, 2L * Elements + 1000);
    }

    [Theory]
    [InlineData(1.0f, 0x3F80)]
    [InlineData(1.00390625f, 0x3F80)] // half way: to even
    [InlineData(1.01171875f, 0x3F82)]
    [InlineData(float.MaxValue, 0x7F80)]
    [InlineData(float.NaN, 0xFFC0)]
    public void ToBFloat16_RoundsToNearestEven(float value, int expected) => Assert.Equal(expected, FloatConversion.ToBFloat16(value));

    private static float Rounded(float value, string type) => type switch
    {
        "bf16" => BitConverter.UInt32BitsToSingle((uint)FloatConversion.ToBFloat16(value) << 16),
        "fp16" => (float)(Half)value,
        _ => value,
    };

    private static float[] Read(byte[] bytes, string type) => type switch
    {
        "bf16" => [.. MemoryMarshal.Cast<byte, ushort>(bytes).ToArray().Select(v => BitConverter.UInt32BitsToSingle((uint)v << 16))],
        "fp16" => [.. MemoryMarshal.Cast<byte, Half>(bytes).ToArray().Select(v => (float)v)],
        _ => MemoryMarshal.Cast<byte, float>(bytes).ToArray(),
    };

    // Each tensor's first half in one file and the rest in another, as two ranks write them.
    private void Save(int step, (string Name, long[] Shape, float[] Values)[] tensors)
    {
        string temporary = CheckpointDirectory.Temporary(_folder.Path, CheckpointDirectory.TagOf(step), "test");
        Directory.CreateDirectory(temporary);
        var files = new List<FileRecord>();
        var parts = new List<IReadOnlyList<TensorRecord>>();
        foreach (string name in (string[])["a.safetensors", "b.safetensors"])
        {
            (int Start, int Length)[] cuts = [.. tensors.Select(t => (t.Values.Length + 1) / 2)
                .Zip(tensors, (half, t) => name[0] == 'a' ? (0, half) : (half, t.Values.Length - half))];
            int[] present = [.. Enumerable.Range(0, tensors.Length).Where(i => cuts[i].Length > 0)];
            using var writer = new SafetensorsFileWriter(Path.Combine(temporary, name), [.. present.Select(i => (
                TensorRecord.EntryName(null, tensors[i].Name, cuts[i].Start, cuts[i].Length, tensors[i].Values.Length), "F32",
                (IReadOnlyList<long>)(cuts[i].Length == tensors[i].Values.Length ? tensors[i].Shape : [cuts[i].Length])))]);
            var written = new List<TensorRecord>();
            foreach (int i in present)
            {
                writer.Append(MemoryMarshal.AsBytes(tensors[i].Values.AsSpan(cuts[i].Start, cuts[i].Length)).ToArray());
                written.Add(new TensorRecord(tensors[i].Name, "F32", tensors[i].Shape, [new PieceRecord(name, cuts[i].Start, cuts[i].Length, writer.EndTensor())]));
            }

            files.Add(writer.Complete());
            parts.Add(written);
        }

        CheckpointDirectory.Complete(_folder.Path, temporary, new CheckpointManifest
        {
            Tag = CheckpointDirectory.TagOf(step),
            WorldSize = 2,
            State = new JsonObject { ["global_steps"] = step },
            Files = files,
            Tensors = CheckpointManifest.Merge(parts),
        }, saveLatest: true);
    }
}
