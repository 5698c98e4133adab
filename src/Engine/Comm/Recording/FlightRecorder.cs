using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>The last collectives of this rank, kept in a ring so that after a failure one can see who waited for whom.</summary>
/// <remarks>Always on: an entry costs two short locks and no garbage. The heartbeat reads it, so that the store knows which
/// collective each rank has entered.</remarks>
public sealed class FlightRecorder
{
    /// <summary>Entries that are kept when DEEPSPEED_FLIGHT_RECORDER_SIZE is not set.</summary>
    public const int DefaultCapacity = 1024;

    private readonly Lock _lock = new();
    private readonly Entry[] _ring;
    private readonly List<FlightGroup> _groups = [];
    private readonly TimeProvider _clock;
    private readonly long _origin;
    private readonly DateTimeOffset _originTime;
    private readonly Dictionary<string, CollectiveTotals> _totals = [];
    private long _next;
    private long _step;

    internal FlightRecorder(int rank, int capacity = DefaultCapacity, TimeProvider? clock = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        (Rank, _ring, _clock) = (rank, new Entry[capacity], clock ?? TimeProvider.System);
        (_origin, _originTime) = (_clock.GetTimestamp(), _clock.GetUtcNow());
    }

    /// <summary>The rank whose collectives these are.</summary>
    public int Rank { get; }

    /// <summary>The optimizer step that entries belong to from now on.</summary>
    public long Step
    {
        get => Volatile.Read(ref _step);
        internal set => Volatile.Write(ref _step, value);
    }

    /// <summary>The entries that are still kept, the oldest first.</summary>
    public IReadOnlyList<FlightRecord> Entries()
    {
        lock (_lock)
        {
            return [.. Indices().Select(index => Record(_ring[index % _ring.Length]))];
        }
    }

    /// <summary>What the collectives that have ended took, by operation (<c>AllReduce</c>), in all groups.</summary>
    public IReadOnlyDictionary<string, CollectiveTotals> Totals()
    {
        lock (_lock)
        {
            return new Dictionary<string, CollectiveTotals>(_totals);
        }
    }

    /// <summary>Starts counting the collectives of a process group.</summary>
    /// <param name="name">The same on every rank and no other group's.</param>
    /// <param name="ranks">Its members.</param>
    internal FlightGroup Group(string name, IReadOnlyList<int> ranks)
    {
        lock (_lock)
        {
            if (_groups.Find(known => known.Name == name) is { } known)
            {
                return known;
            }

            var group = new FlightGroup(this, name, ranks);
            _groups.Add(group);
            return group;
        }
    }

    /// <summary>What the heartbeat tells: where this rank is in each of its groups.</summary>
    internal RankProgress Progress()
    {
        lock (_lock)
        {
            long now = _clock.GetTimestamp();
            var oldest = new Dictionary<FlightGroup, Entry>();
            foreach (long index in Indices())
            {
                ref Entry entry = ref _ring[index % _ring.Length];
                if (entry.EndedAt == 0 && entry.Peer < 0)
                {
                    oldest.TryAdd(entry.Group, entry);
                }
            }

            string last = _next == 0 ? "" : Record(_ring[(_next - 1) % _ring.Length]).ToString();
            return new RankProgress(Step, last, [.. _groups.Select(group => oldest.TryGetValue(group, out Entry entry)
                ? new GroupProgress(group.Name, group.LastSequence, entry.Sequence,
                    _clock.GetElapsedTime(entry.StartedAt, now), Record(entry).ToString())
                : new GroupProgress(group.Name, group.LastSequence, 0, TimeSpan.Zero, ""))]);
        }
    }

    /// <summary>The groups that were named so far.</summary>
    internal IReadOnlyList<FlightGroup> Groups()
    {
        lock (_lock)
        {
            return [.. _groups];
        }
    }

    internal long Start(FlightGroup group, string operation, string name, long bytes, torch.ScalarType? type, int peer)
    {
        lock (_lock)
        {
            long token = _next++;
            _ring[token % _ring.Length] = new Entry
            {
                Token = token,
                Group = group,
                Sequence = peer < 0 ? ++group.LastSequence : 0,
                Operation = operation,
                Name = name,
                Bytes = bytes,
                Type = type,
                Peer = peer,
                Step = _step,
                StartedAt = _clock.GetTimestamp(),
            };
            return token;
        }
    }

    internal void End(long token)
    {
        lock (_lock)
        {
            ref Entry entry = ref _ring[token % _ring.Length];
            if (entry.Token == token)
            {
                // 0 stands for "under way".
                entry.EndedAt = Math.Max(1, _clock.GetTimestamp());
                CollectiveTotals before = _totals.GetValueOrDefault(entry.Operation);
                _totals[entry.Operation] = new CollectiveTotals(before.Count + 1, before.Bytes + entry.Bytes,
                    before.Time + _clock.GetElapsedTime(entry.StartedAt, entry.EndedAt));
            }
        }
    }

    private IEnumerable<long> Indices()
    {
        for (long index = Math.Max(0, _next - _ring.Length); index < _next; index++)
        {
            yield return index;
        }
    }

    private FlightRecord Record(in Entry entry) => new(entry.Group.Name, entry.Sequence, entry.Operation, entry.Name,
        entry.Bytes, entry.Type, entry.Peer, entry.Step, TimeOf(entry.StartedAt),
        entry.EndedAt == 0 ? null : TimeOf(entry.EndedAt));

    private DateTimeOffset TimeOf(long timestamp) => _originTime + _clock.GetElapsedTime(_origin, timestamp);

    private struct Entry
    {
        public long Token;
        public FlightGroup Group;
        public long Sequence;
        public string Operation;
        public string Name;
        public long Bytes;
        public torch.ScalarType? Type;
        public int Peer;
        public long Step;
        public long StartedAt;
        public long EndedAt;
    }
}
