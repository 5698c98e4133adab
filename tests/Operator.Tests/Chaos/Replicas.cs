using System.Collections.Concurrent;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>How many operators there are, and what they know of each other.</summary>
public enum Replication
{
    /// <summary>One.</summary>
    Alone,

    /// <summary>Two, of which a lease chooses one.</summary>
    Elected,

    /// <summary>Two that both act, by mistake.</summary>
    Raced,
}

/// <summary>The operators of a random run: they are killed, stopped, continued, started again, and have clocks that are wrong.</summary>
internal sealed class Replicas : IAsyncDisposable
{
    private readonly FakeApi _api;
    private readonly FakeTimeProvider _time;
    private readonly Replication _replication;
    private readonly OperatorProcess[] _processes;
    private readonly ConcurrentDictionary<string, ProcessClock> _clocks;
    private readonly List<OperatorProcess> _all = [];
    private int _starts;
    private (string? Name, DateTimeOffset Since) _acting;

    /// <summary>Starts them.</summary>
    /// <param name="api">The cluster.</param>
    /// <param name="time">The true time.</param>
    /// <param name="replication">How many there are.</param>
    /// <param name="clocks">Receives the clock of each process ever started, by its name.</param>
    public Replicas(FakeApi api, FakeTimeProvider time, Replication replication, ConcurrentDictionary<string, ProcessClock> clocks)
    {
        (_api, _time, _replication, _clocks) = (api, time, replication, clocks);
        _processes = [.. Enumerable.Range(0, replication == Replication.Alone ? 1 : 2).Select(_ => Start())];
    }

    public IReadOnlyList<OperatorProcess> Processes => _processes;

    /// <summary>Those that act now.</summary>
    public IEnumerable<OperatorProcess> Acting => _processes.Where(p => !p.IsDead && p.Leads);

    /// <summary>Since when the same operators have acted without a break; null when none does.</summary>
    public DateTimeOffset? ActsSince
    {
        get
        {
            string? name = Acting.Any() ? string.Join(' ', Acting.Select(p => p.Name)) : null;
            if (name != _acting.Name)
            {
                _acting = (name, _time.GetUtcNow());
            }

            return name is null ? null : _acting.Since;
        }
    }

    public int Starts => _starts;

    /// <summary>Starts operators in the place of those that ended.</summary>
    public void Revive()
    {
        for (int i = 0; i < _processes.Length; i++)
        {
            if (_processes[i].IsDead)
            {
                _processes[i] = Start();
            }
        }
    }

    /// <summary>Lets those that are stopped go on, with clocks that are right.</summary>
    public async Task HealAsync()
    {
        foreach (OperatorProcess process in _processes)
        {
            var clock = (ProcessClock)process.Clock;
            clock.Error = TimeSpan.Zero;
            process.DoNotStop();
            if (clock.IsStopped)
            {
                await process.ContinueAsync();
            }
        }
    }

    /// <summary>Lets time pass for everybody, a little each time when it is much.</summary>
    public void Advance(TimeSpan time)
    {
        _time.Advance(time);
        foreach (OperatorProcess process in _processes)
        {
            ((ProcessClock)process.Clock).Advance(time);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (OperatorProcess process in _all)
        {
            process.Kill();
        }

        await Task.WhenAll(_all.Select(p => p.DisposeAsync().AsTask()));
    }

    private OperatorProcess Start()
    {
        string name = $"operator-{++_starts}";
        var options = new OperatorOptions
        {
            RequestsPerSecond = 500,
            RequestBurst = 1000,
            Leader = _replication == Replication.Elected
                ? new LeaderOptions { Name = "lock", Namespace = "system", Identity = name } : null,
        };
        ProcessClock clock = _clocks[name] = new ProcessClock(_time.GetUtcNow());
        var process = new OperatorProcess(_api, name, clock, options, pageSize: 5);
        _all.Add(process);
        return process;
    }
}
