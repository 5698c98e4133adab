using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <content>How storms begin and end, and how it all ends.</content>
internal sealed partial class World
{
    /// <summary>A storm begins.</summary>
    public void BeginStorm()
    {
        Diary.Note($"a storm begins at event {Event}");
        Promises.BeforeStep = null;
        _judge.Reset();
        _faults.Rate = _dice.Of([0, 0.05, 0.1, 0.3]);
        TimeSpan lag = TimeSpan.FromSeconds(_dice.Of([0, 0, 1, 5]));
        _api.Distortion = _dice.Next(4) switch
        {
            0 => null,
            1 => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Twice = 0.1, Lost = 0.02, Exchanged = 0.1, Bookmarks = 0.05 },
            2 => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Cut = 0.05, Bookmarks = 0.2 },
            _ => new WatchDistortion(_dice.Chance, Time) { Lag = lag, Twice = 0.05, Cut = 0.02, Silent = 0.003, Bookmarks = 0.1 },
        };
    }

    /// <summary>The storm is over: nothing but pods goes wrong any more, and the operators come to themselves.</summary>
    public async Task HealAsync()
    {
        _faults.Rate = 0;
        _distorted += _api.Distortion?.Count ?? 0;
        _api.Distortion = null;
        _api.Store.Terminating.Clear();
        _api.Up();
        await Replicas.HealAsync();
        _api.Store.Compact();
        _api.CutConnections(); // also what hangs
        for (int i = 0; i < 18; i++)
        {
            // In all more than a minute: what failed in the storm is tried again after that, at the latest.
            Replicas.Revive();
            Replicas.Advance(TimeSpan.FromSeconds(i < 5 ? 1 : 5));
            await QuietAsync();
            CollectGarbage(all: true);
        }

        await QuietAsync();
        Diary.Note($"the storm is over after event {Event}");
    }

    /// <summary>From now on everything goes well: every job comes to its end, and then nothing is written any more.</summary>
    public async Task EndAsync()
    {
        await HealAsync();
        _kubelet.Heal();
        for (int i = 0; _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)).Any(j => !j.IsFinished && j.Name != "foreign"); i++)
        {
            Assert.True(i < 2000, $"jobs do not end: {string.Join('\n', _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)).Where(j => !j.IsFinished))}");
            foreach (SeenJob job in _api.Store.All("deepspeedjobs").Select(j => new SeenJob(j)))
            {
                if (job.Spec?.Suspend == true)
                {
                    Edit(job.Name, """{"suspend":false}""");
                }
            }

            _kubelet.ServeAll();
            Replicas.Advance(TimeSpan.FromSeconds(1));
            await QuietAsync();
        }

        // Clocks that still run (a clean-up, a job's time after its end) may write once more each; then there is nothing left to write.
        int writes, rounds = 0;
        do
        {
            writes = _api.Writes;
            for (int i = 0; i < 12; i++)
            {
                _kubelet.ServeAll();
                Replicas.Advance(TimeSpan.FromSeconds(5));
                await QuietAsync();
            }
        }
        while (_api.Writes != writes && ++rounds < 10);

        Promises.Check();
        Assert.True(rounds < 10, "writes go on though nothing happens");
    }
}
