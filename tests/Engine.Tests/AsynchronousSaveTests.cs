namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Checkpoints that are written while training goes on.</summary>
public sealed class AsynchronousSaveTests : IDisposable
{
    private static readonly SaveCheckpointOptions Behind = new() { Asynchronous = true };

    private readonly string _folder = Directory.CreateTempSubdirectory("asynchronous-saves-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(3, 2)]
    public void Save_WhileTrainingGoesOn_HasTheStateOfTheCall(int ranks, int stage)
    {
        string zero = $$"""{"stage": {{stage}}}""";
        Ranks.Run(ranks, group => LoadOptionsTests.With(group, (engine, model, loader) =>
        {
            LoadOptionsTests.Train(engine, model, loader, 2);
            engine.SaveCheckpoint(Path.Combine(_folder, "at once"));
            engine.SaveCheckpoint(Path.Combine(_folder, "behind"), options: Behind);
            LoadOptionsTests.Train(engine, model, loader, 3);
            engine.FinishCheckpoint();
            return 0;
        }, $"\"zero_optimization\": {zero},"));

        string behind = Path.Combine(_folder, "behind");
        Assert.Equal("global_step2", File.ReadAllText(Path.Combine(behind, "latest")));
        Assert.Equal(SavedCheckpoint.Values(Path.Combine(_folder, "at once", "global_step2")), SavedCheckpoint.Values(Path.Combine(behind, "global_step2")));
        CheckpointManifest manifest = CheckpointManifest.Read(Path.Combine(behind, "global_step2"));
        Assert.Empty(CheckpointVerification.Problems(Path.Combine(behind, "global_step2"), manifest, manifest.Files, 1));
        Assert.Equal(["global_step2"], Directory.GetDirectories(behind).Select(Path.GetFileName));
    }

    [Fact]
    public void Save_DecoupledInTheConfig_IsCompleteAfterDispose()
    {
        Ranks.Run(2, group => LoadOptionsTests.With(group, (engine, model, loader) => engine.SaveCheckpoint(_folder),
            "\"checkpoint\": {\"writer\": {\"decoupled\": true}},"));

        Assert.Equal("global_step0", File.ReadAllText(Path.Combine(_folder, "latest")));
        Assert.NotEmpty(SavedCheckpoint.Values(Path.Combine(_folder, "global_step0")));
    }

    [Fact]
    public void Save_OneAfterTheOther_WaitsForTheFirst()
    {
        Ranks.Run(2, group => LoadOptionsTests.With(group, (engine, model, loader) =>
        {
            for (int step = 1; step <= 4; step++)
            {
                LoadOptionsTests.Train(engine, model, loader, 1);
                engine.SaveCheckpoint(_folder, options: Behind with { KeepLast = 2 });
                Assert.True(step == 1 || File.Exists(Path.Combine(_folder, $"global_step{step - 1}", "manifest.json")));
            }

            engine.LoadCheckpoint(_folder); // waits too
            Assert.Equal(4, engine.GlobalSteps);
            return 0;
        }));

        Assert.Equal(["global_step3", "global_step4"], Directory.GetDirectories(_folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    // The folder that rank 1 writes to is gone as soon as it begins: its file cannot be made.
    [Fact]
    public void Save_OneRankCannotWrite_AllHearOfItAtTheNextCallAndLatestStays()
    {
        string[] messages = Ranks.Run(2, group => LoadOptionsTests.With(group, (engine, model, loader) =>
        {
            engine.SaveCheckpoint(_folder);
            LoadOptionsTests.Train(engine, model, loader, 1);
            group.Barrier("saved");
            // A file where the folder of unfinished checkpoints would be renamed to.
            if (group.Rank == 0)
            {
                File.WriteAllText(Path.Combine(_folder, "global_step1"), "in the way");
            }

            group.Barrier("blocked");
            engine.SaveCheckpoint(_folder, options: Behind);
            LoadOptionsTests.Train(engine, model, loader, 1);
            return Assert.Throws<CheckpointException>(() => engine.SaveCheckpoint(_folder, options: Behind)).Message;
        }));

        Assert.All(messages, m => Assert.Contains("checkpoint global_step1 was not saved", m, StringComparison.Ordinal));
        Assert.Equal("global_step0", File.ReadAllText(Path.Combine(_folder, "latest")));
    }

    [Fact]
    public void Await_ARankThatNeverWrites_IsNamedAfterTheLimit()
    {
        RankMarker.Write(_folder, 0, RankPart.Nothing);
        RankMarker.Write(_folder, 2, RankPart.Nothing);

        string message = Assert.Throws<CheckpointException>(() =>
            RankMarker.Await(_folder, 4, TimeSpan.FromMilliseconds(200), TimeProvider.System, CancellationToken.None)).Message;

        Assert.Contains("rank 1, 3", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Await_ARankThatFailed_SaysWhy()
    {
        RankMarker.Write(_folder, 1, RankPart.Nothing with { Error = "the disk is full", IsPassing = true });

        var error = Assert.Throws<CheckpointException>(() =>
            RankMarker.Await(_folder, 2, TimeSpan.FromMinutes(1), TimeProvider.System, CancellationToken.None));

        Assert.Contains("rank 1: the disk is full", error.Message, StringComparison.Ordinal);
        Assert.True(error.IsPassing);
    }
}
