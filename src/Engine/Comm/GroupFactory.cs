using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Nccl;
using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Store;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Makes the group of all ranks of a run, and groups of some of them.</summary>
internal sealed class GroupFactory
{
    private readonly WorkerEnvironment _place;
    private readonly TcpStore? _store;
    private readonly TimeSpan _timeout;
    private readonly LinkOptions _options;
    private readonly bool _usesNccl;
    private readonly string? _whyNotNccl;
    private readonly Lock _lock = new();
    private readonly Dictionary<ProcessGroup, (string Name, int Children)> _groups = [];
    private ProcessGroup? _world;

    private GroupFactory(WorkerEnvironment place, TcpStore? store, TimeSpan timeout, LinkOptions options, NcclWish wish)
    {
        (_place, _store, _timeout, _options) = (place, store, timeout, options);
        if (store is not null)
        {
            (_usesNccl, _whyNotNccl) = NcclChoice.Agree(store, place, wish, timeout);
        }
    }

    /// <summary>The last collectives of this process; null in a run of one process.</summary>
    public FlightRecorder? Recorder => _store?.Recorder;

    /// <summary>Finds the other ranks of the run and links them.</summary>
    /// <param name="place">This process.</param>
    /// <param name="timeout">Longest wait, here and in each collective.</param>
    /// <param name="options">Settings of the links.</param>
    /// <param name="nccl">Whether CUDA tensors should go through NCCL.</param>
    /// <exception cref="PeerLostException">Some rank did not come.</exception>
    public static async Task<ProcessGroup> CreateWorldAsync(WorkerEnvironment place, TimeSpan timeout, LinkOptions options, NcclWish nccl = NcclWish.No)
    {
        TcpStore? store = place.WorldSize == 1 ? null : await TcpStore.ConnectAsync(place, timeout).ConfigureAwait(false);
        try
        {
            var factory = new GroupFactory(place, store, timeout, options, nccl);
            return factory._world = await factory.CreateAsync("world", [.. Enumerable.Range(0, place.WorldSize)]).ConfigureAwait(false);
        }
        catch
        {
            store?.Dispose();
            throw;
        }
    }

    /// <summary>Makes a group of some of a group's ranks; null where this rank is not a member.</summary>
    public ProcessGroup? NewGroup(ProcessGroup parent, IReadOnlyList<int> ranks)
    {
        string name;
        lock (_lock)
        {
            // All ranks of the parent count alike, members or not, so the name is the same on all and nobody else's.
            (string parentName, int children) = _groups[parent];
            _groups[parent] = (parentName, children + 1);
            name = $"{parentName}/{children + 1}";
        }

        return ranks.Contains(_place.Rank!.Value) ? CreateAsync(name, [.. ranks]).GetAwaiter().GetResult() : null;
    }

    /// <summary>A group is gone; the store goes with that of all ranks.</summary>
    public void Left(ProcessGroup group)
    {
        lock (_lock)
        {
            _groups.Remove(group);
        }

        if (group == _world)
        {
            _store?.Dispose();
        }
    }

    private async Task<ProcessGroup> CreateAsync(string name, IReadOnlyList<int> ranks)
    {
        HostLinks links = ranks.Count == 1 || _store is null ? HostLinks.Alone(ranks[0])
            : await new Linking(_store, _place, name, ranks, _timeout, _options).ConnectAsync().ConfigureAwait(false);
        FlightGroup? flight = _store?.Recorder.Group(name, ranks);
        var host = new HostCollectives(links, name, flight, _options.Debug);
        NcclCollectives? device = _usesNccl && _store is not null && ranks.Count > 1
            ? new NcclCollectives(_store, name, host.Rank, ranks.Count, _timeout, flight) : null;
        var group = new ProcessGroup(_place, host, this, ranks, device) { WhyNotNccl = _whyNotNccl };
        lock (_lock)
        {
            _groups[group] = (name, 0);
        }

        return group;
    }
}
