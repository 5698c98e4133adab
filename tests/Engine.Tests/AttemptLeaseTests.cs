using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine.Checkpoint;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Two attempts of a job in one folder of checkpoints: the earlier one is cut off, or held up, and comes back.</summary>
public sealed class AttemptLeaseTests : IDisposable
{
    private const string Tag = "global_step10";
    private static readonly Attempt First = new("job", 1);
    private static readonly Attempt Second = new("job", 2);
    private readonly string _folder = Directory.CreateTempSubdirectory("attempts").FullName;
    private readonly Tensor _old = torch.full(64, 1f);
    private readonly Tensor _new = torch.full(64, 2f);

    public void Dispose()
    {
        _old.Dispose();
        _new.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Save_AfterALaterAttemptBegan_IsRefused()
    {
        AttemptLease.Take(_folder, First);
        Save(First, _old);
        AttemptLease.Take(_folder, Second);

        var refusal = Assert.Throws<CheckpointException>(() => Save(First, _old));

        Assert.StartsWith("attempt 2 of job job has begun, so attempt 1 of job job may not write", refusal.Message, StringComparison.Ordinal);
        Assert.Throws<CheckpointException>(() => AttemptLease.Take(_folder, First));
        Save(Second, _new);
        IsWhole(2);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Save_HeldUpWhileALaterAttemptSaved_ChangesNothing(bool looksAgain)
    {
        AttemptLease.Take(_folder, First);
        (SaveRequest held, RankPart part) = Begin(First, _old);
        AttemptLease.Take(_folder, Second);
        Save(Second, _new);

        // It had looked at the lease before it was held up, or it looks now: neither may help it.
        Exception failure = Assert.ThrowsAny<Exception>(() =>
        {
            if (looksAgain)
            {
                held.Complete([part], _ => { });
            }
            else
            {
                held.Publish([part]);
            }
        });

        Assert.True(failure is CheckpointException or IOException, failure.ToString());
        IsWhole(2);
        Save(Second, _new);
        IsWhole(2);
        Assert.Equal([".attempt", Path.GetFileName(AttemptLease.WorkFolder(_folder, Second)), Tag, "latest"],
            Directory.GetFileSystemEntries(_folder).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Save_FolderTakenAwayBetweenItsRenames_LeavesTheEarlierCheckpointInForce()
    {
        Save(First, _old);
        (SaveRequest held, RankPart part) = Begin(First, _new);
        string finished = Path.Combine(_folder, "finished");
        Directory.Move(held.Temporary, finished);

        Assert.ThrowsAny<IOException>(() => DurableFiles.ReplaceFolder(held.Temporary, held.Folder, held.Folder + ".old"));

        Assert.NotEmpty(part.Files);
        Directory.Delete(finished, recursive: true);
        IsWhole(1);
    }

    [Fact]
    public void Save_HeldUpInTheMiddleOfItsFiles_SaysWhoHasTakenOver()
    {
        AttemptLease.Take(_folder, First);
        SaveRequest held = Request(First, _old);
        held = held with { Temporary = held.Prepare() };
        AttemptLease.Take(_folder, Second);

        var refusal = Assert.Throws<CheckpointException>(() => held.Write(0, new WritePace()));

        Assert.Contains("attempt 2 of job job has begun", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Take_NoteOfALaterAttemptOverwritten_IsPutRight()
    {
        AttemptLease.Take(_folder, Second);
        File.WriteAllText(Path.Combine(_folder, ".attempt"), "1 job\n");

        Save(Second, _new);

        Assert.Equal("2 job", File.ReadAllText(Path.Combine(_folder, ".attempt")).Trim());
        Assert.Throws<CheckpointException>(() => Save(First, _old));
    }

    [Fact]
    public void Take_ByAJobAppliedAgain_TakesOverWhateverItsNumber()
    {
        AttemptLease.Take(_folder, Second);
        Save(Second, _old);
        var again = new Attempt("another", 1);

        AttemptLease.Take(_folder, again);
        Save(again, _new);

        IsWhole(2);
        Assert.Throws<CheckpointException>(() => Save(Second, _old));
    }

    private void Save(Attempt attempt, Tensor values)
    {
        (SaveRequest request, RankPart part) = Begin(attempt, values);
        request.Complete([part], warning => Assert.Fail(warning));
    }

    private (SaveRequest Request, RankPart Part) Begin(Attempt attempt, Tensor values)
    {
        SaveRequest request = Request(attempt, values);
        request = request with { Temporary = request.Prepare() };
        return (request, request.Write(0, new WritePace()));
    }

    private SaveRequest Request(Attempt attempt, Tensor values) =>
        new(_folder, Tag, 0, new JsonObject { ["global_steps"] = 10 }, [StatePiece.Whole("weight", values)], new SaveCheckpointOptions())
        {
            Attempt = attempt,
        };

    // latest names a checkpoint of which every byte is what was written, by whom it should be.
    private void IsWhole(float value)
    {
        Assert.Equal(Tag, CheckpointDirectory.Latest(_folder));
        string folder = Path.Combine(_folder, Tag);
        CheckpointManifest manifest = CheckpointManifest.Read(folder);
        Assert.Empty(CheckpointVerification.Problems(folder, manifest, manifest.Files, 1));
        using var tensors = new CheckpointTensors(folder, manifest);
        var values = new float[64];
        tensors.Read(Assert.Single(manifest.Tensors), 0, MemoryMarshal.AsBytes(values.AsSpan()));
        Assert.All(values, read => Assert.Equal(value, read));
    }
}
