using System.Security.Cryptography;
using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Which parameters of stage 3 are whole, who uses them, and which are on their way.</summary>
/// <remarks>Every decision is a function of the calls that were made, so all ranks whose models take the same path start the
/// same collectives in the same order.</remarks>
internal sealed class LiveParameters : IDisposable
{
    private readonly IReadOnlyList<PartitionedParameter> _parameters;
    private readonly IReadOnlyList<ParameterUnit> _units;
    private readonly ProcessGroup _group;
    private readonly ZeroStage3Config _config;
    private readonly ParameterGatherer _gatherer;
    private readonly IReadOnlyList<bool> _persistent;
    private readonly int[] _users; // calls that need each parameter
    private readonly ParameterGatherer.Pending?[] _pending; // of each parameter that is on its way
    private readonly bool[] _isOurs; // gathered here, and not by somebody who holds it
    private readonly string[] _names; // of each unit, for messages
    private readonly byte[][] _ids; // of each unit
    private readonly Action<string>? _warn;
    private readonly bool _checksAlways;

    /// <param name="parameters">The parameters.</param>
    /// <param name="units">What is gathered together.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="config">Limits and thresholds.</param>
    /// <param name="warn">Takes warnings about a changed order, when they are wanted.</param>
    public LiveParameters(IReadOnlyList<PartitionedParameter> parameters, IReadOnlyList<ParameterUnit> units, ProcessGroup group,
        ZeroConfig config, Action<string>? warn)
    {
        (_parameters, _units, _group, _config) = (parameters, units, group, config.Stage3);
        _checksAlways = config.EnableSanityChecks;
        _warn = config.Stage3.LogTraceCacheWarnings ? warn : null;
        _gatherer = new ParameterGatherer(group, _config.AllGatherSequential, _config.UseAllReduceForFetchParams);
        long[] elements = [.. parameters.Select(p => p.Cut.Elements)];
        _persistent = ParameterPartition.Persistent(elements, _config.ParamPersistenceThreshold, _config.ModelPersistenceThreshold);
        (_users, _pending) = (new int[parameters.Count], new ParameterGatherer.Pending?[parameters.Count]);
        _isOurs = new bool[parameters.Count];
        for (int i = 0; i < parameters.Count; i++)
        {
            int slot = i;
            (parameters[i].Group, parameters[i].Arrive) = (group, () => Await(slot));
        }

        _names = [.. units.Select(u => $"the parameters of {u.Name}")];
        _ids = [.. units.Select(u => SHA256.HashData(Encoding.UTF8.GetBytes(u.Name))[..8])];
        Trace = new UseTrace([.. units.Select(u => u.Slots.Sum(slot => elements[slot]))], [.. units.Select(u => u.Slots)], parameters.Count);
    }

    /// <summary>The order of use.</summary>
    public UseTrace Trace { get; }

    /// <summary>Elements that are whole or on their way, persistent ones included.</summary>
    public long Elements { get; private set; }

    /// <summary>Whether a parameter stays whole between uses.</summary>
    public bool IsPersistent(int slot) => _persistent[slot];

    /// <summary>Makes a unit's parameters whole until <see cref="End"/>, and starts gathering what comes next.</summary>
    /// <param name="unit">The unit.</param>
    /// <param name="isTraced">Whether this is part of training, whose order repeats itself.</param>
    /// <param name="isOutermost">Whether no other unit is in use.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    /// <exception cref="InvalidOperationException">Another rank needs other parameters.</exception>
    public void Use(int unit, bool isTraced, bool isOutermost)
    {
        if (isTraced)
        {
            Trace.Use(unit, isOutermost);
        }

        Start(unit, checks: _checksAlways || !isTraced || !Trace.IsOn);
        if (isTraced)
        {
            Prefetch();
        }

        foreach (int slot in _units[unit].Slots)
        {
            Await(slot);
            _users[slot]++;
        }
    }

    /// <summary>Ends a use; what nobody uses and nobody will soon is released.</summary>
    /// <param name="unit">The unit.</param>
    /// <param name="isTraced">As it was for <see cref="Use"/>.</param>
    public void End(int unit, bool isTraced)
    {
        foreach (int slot in _units[unit].Slots)
        {
            _users[slot] = Math.Max(0, _users[slot] - 1);
            bool isNeededSoon = isTraced && Elements <= _config.MaxLiveParameters && Trace.ElementsUntil(slot) < _config.MaxReuseDistance;
            if (_users[slot] == 0 && !isNeededSoon)
            {
                Release(slot);
            }
        }
    }

    /// <summary>Ends all uses: nothing but the persistent parameters stays.</summary>
    /// <param name="isComplete">Whether a whole forward and backward were made.</param>
    public void EndAll(bool isComplete)
    {
        for (int slot = 0; slot < _parameters.Count; slot++)
        {
            Await(slot);
            _users[slot] = 0;
            Release(slot);
        }

        if (!isComplete)
        {
            Trace.Abandon();
            return;
        }

        Trace.End();
        if (Trace.HasChanged)
        {
            _warn?.Invoke("the order in which modules are used has changed, so parameters are not gathered ahead until it repeats itself");
        }
    }

    /// <summary>Gathers the persistent parameters anew, after their shards have changed.</summary>
    /// <param name="bucketElements">Largest number of elements gathered at a time.</param>
    public void Refresh(long bucketElements)
    {
        var bucket = new List<PartitionedParameter>();
        long elements = 0;
        for (int slot = 0; slot < _parameters.Count; slot++)
        {
            if (!_parameters[slot].IsWhole || _parameters[slot].Cut.Elements == 0)
            {
                continue;
            }

            if (bucket.Count > 0 && elements + _parameters[slot].Cut.Elements > bucketElements)
            {
                Gather();
            }

            bucket.Add(_parameters[slot]);
            elements += _parameters[slot].Cut.Elements;
        }

        Gather();

        void Gather()
        {
            if (bucket.Count > 0)
            {
                _gatherer.Finish(_gatherer.Start(bucket, "the persistent parameters"));
                bucket.Clear();
                elements = 0;
            }
        }
    }

    public void Dispose()
    {
        for (int slot = 0; slot < _parameters.Count; slot++)
        {
            try
            {
                Await(slot);
            }
            catch (PeerLostException)
            {
                // It has been reported, or training has ended.
            }
        }
    }

    // Gathers what is not there of a unit.
    private void Start(int unit, bool checks)
    {
        int[] missing = [.. _units[unit].Slots.Where(slot => !_parameters[slot].HasMemory && _parameters[slot].Cut.Elements > 0)];
        if (missing.Length == 0)
        {
            return;
        }

        if (checks && _group.WorldSize > 1)
        {
            CheckPaths(unit);
        }

        ParameterGatherer.Pending pending = _gatherer.Start([.. missing.Select(slot => _parameters[slot])], _names[unit]);
        foreach (int slot in missing)
        {
            (_pending[slot], _isOurs[slot]) = (pending, true);
            Elements += _parameters[slot].Cut.Elements;
        }
    }

    // Looks ahead until enough is on its way or lies there unused.
    private void Prefetch()
    {
        long ahead = 0;
        foreach (int unit in Trace.Ahead)
        {
            if (ahead >= _config.PrefetchBucketSize)
            {
                return;
            }

            long missing = _units[unit].Slots.Where(slot => !_parameters[slot].HasMemory).Sum(slot => _parameters[slot].Cut.Elements);
            if (Elements + missing > _config.MaxLiveParameters)
            {
                return;
            }

            ahead += _units[unit].Slots.Where(slot => !_persistent[slot] && _users[slot] == 0).Sum(slot => _parameters[slot].Cut.Elements);
            if (missing > 0)
            {
                Start(unit, checks: _checksAlways);
            }
        }
    }

    private void Await(int slot)
    {
        if (_pending[slot] is not { } pending)
        {
            return;
        }

        for (int i = 0; i < _pending.Length; i++)
        {
            _pending[i] = ReferenceEquals(_pending[i], pending) ? null : _pending[i];
        }

        _gatherer.Finish(pending);
    }

    private void Release(int slot)
    {
        PartitionedParameter parameter = _parameters[slot];
        if (_isOurs[slot] && parameter.IsWhole && !_persistent[slot] && !parameter.IsHeld)
        {
            parameter.Release();
            _isOurs[slot] = false;
            Elements -= parameter.Cut.Elements;
        }
    }

    // Before the order is known: ranks that need different parameters would wait for each other for ever.
    private void CheckPaths(int unit)
    {
        byte[][] needed = _group.AllGatherAsync(_ids[unit], _names[unit]).GetAwaiter().GetResult();
        int other = Array.FindIndex(needed, id => !id.AsSpan().SequenceEqual(_ids[unit]));
        if (other >= 0)
        {
            int theirs = Array.FindIndex(_ids, id => id.AsSpan().SequenceEqual(needed[other]));
            throw new InvalidOperationException($"rank {other} needs {(theirs < 0 ? "other parameters" : _names[theirs])} where rank {_group.Rank} needs "
                + $"{_names[unit]}: the ranks take different paths through the model; in ZeRO stage 3 all must call the same modules in the same order. "
                + "Call the module on every rank, name the module around it in zero_optimization.leaf_module, or use stage 2");
        }
    }
}
