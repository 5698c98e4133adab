using System.Globalization;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>The newest known state of all objects of a kind, also by a group such as their owner.</summary>
/// <remarks>
/// What this process writes is put here at once, and an event that is older than what is known is dropped. So a pass
/// never sees a state from before the last write: a pod just created cannot look lost. Versions are compared as numbers,
/// which Kubernetes guarantees since 1.35 and etcd always did.
/// </remarks>
/// <typeparam name="T">State of one object; immutable.</typeparam>
/// <param name="groupOf">Group of an object, or null.</param>
internal sealed class ObjectCache<T>(Func<T, string?> groupOf)
    where T : class
{
    private const int MostRemoved = 10_000;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Cached<T>> _entries = [];
    private readonly Dictionary<string, HashSet<string>> _groups = [];

    // Versions at which objects were removed, so that a late answer to our own write does not bring one back.
    private readonly Dictionary<string, string> _removed = [];

    // Version of the last list of each scope: what is older and was not in it is gone.
    private readonly Dictionary<string, string> _listed = [];

    /// <summary>Says what changed: the state before and after, null where there is none.</summary>
    public event Action<T?, T?>? Changed;

    /// <summary>Number of objects.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>The object of a key, or null.</summary>
    public T? Get(string key)
    {
        lock (_lock)
        {
            return _entries.GetValueOrDefault(key)?.Value;
        }
    }

    /// <summary>The objects for which something is so.</summary>
    public IReadOnlyList<T> Where(Func<T, bool> isSo)
    {
        lock (_lock)
        {
            return [.. _entries.Values.Select(e => e.Value).Where(isSo)];
        }
    }

    /// <summary>All objects.</summary>
    public IReadOnlyList<T> All()
    {
        lock (_lock)
        {
            return [.. _entries.Values.Select(e => e.Value)];
        }
    }

    /// <summary>The objects of a group.</summary>
    public IReadOnlyList<T> Group(string group)
    {
        lock (_lock)
        {
            return _groups.TryGetValue(group, out HashSet<string>? keys) ? [.. keys.Select(k => _entries[k].Value)] : [];
        }
    }

    /// <summary>Puts a state, unless a newer one is known.</summary>
    public void Put(string key, string version, T value)
    {
        T? before;
        lock (_lock)
        {
            Cached<T>? known = _entries.GetValueOrDefault(key);
            if ((known is not null && IsNewer(known.Version, version))
                || (known is null && WasListedAfter(key, version))
                || (_removed.TryGetValue(key, out string? removed) && IsNewer(removed, version)))
            {
                return;
            }

            before = known?.Value;
            Set(key, new Cached<T>(version, value));
            _removed.Remove(key);
        }

        Changed?.Invoke(before, value);
    }

    /// <summary>Removes an object, unless a newer one of its name is known.</summary>
    public void Remove(string key, string version)
    {
        T before;
        lock (_lock)
        {
            if (_removed.Count >= MostRemoved)
            {
                _removed.Clear();
            }

            _removed[key] = version;
            if (!_entries.TryGetValue(key, out Cached<T>? known) || IsNewer(known.Version, version))
            {
                return;
            }

            before = known.Value;
            Unset(key);
        }

        Changed?.Invoke(before, null);
    }

    /// <summary>Takes a complete list; what is missing from it is gone.</summary>
    /// <param name="objects">All objects by key.</param>
    /// <param name="version">Version of the list.</param>
    /// <param name="restored">Versions went backwards, as after a restore from a backup: only the list is true.</param>
    /// <param name="scope">How the keys begin that the list speaks of; other namespaces have lists of their own.</param>
    public void Replace(IReadOnlyDictionary<string, Cached<T>> objects, string version, bool restored = false, string scope = "")
    {
        var changes = new List<(T? Before, T? After)>();
        lock (_lock)
        {
            foreach ((string key, Cached<T> known) in _entries.ToArray())
            {
                if (key.StartsWith(scope, StringComparison.Ordinal) && !objects.ContainsKey(key) && (restored || !IsNewer(known.Version, version)))
                {
                    Unset(key);
                    changes.Add((known.Value, null));
                }
            }

            foreach ((string key, Cached<T> listed) in objects)
            {
                Cached<T>? known = _entries.GetValueOrDefault(key);
                if (known is null || restored || IsNewer(listed.Version, known.Version))
                {
                    Set(key, listed);
                    changes.Add((known?.Value, listed.Value));
                }
            }

            foreach (string key in _removed.Keys.Where(k => k.StartsWith(scope, StringComparison.Ordinal)).ToArray())
            {
                _removed.Remove(key);
            }

            _listed[scope] = version;
        }

        foreach ((T? before, T? after) in changes)
        {
            Changed?.Invoke(before, after);
        }
    }

    private bool WasListedAfter(string key, string version)
    {
        foreach ((string scope, string listed) in _listed)
        {
            if (IsNewer(listed, version) && key.StartsWith(scope, StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    private void Set(string key, Cached<T> entry)
    {
        Unset(key);
        _entries[key] = entry;
        if (groupOf(entry.Value) is { } group)
        {
            if (!_groups.TryGetValue(group, out HashSet<string>? keys))
            {
                _groups[group] = keys = [];
            }

            keys.Add(key);
        }
    }

    private void Unset(string key)
    {
        if (_entries.Remove(key, out Cached<T>? entry) && groupOf(entry.Value) is { } group
            && _groups.TryGetValue(group, out HashSet<string>? keys) && keys.Remove(key) && keys.Count == 0)
        {
            _groups.Remove(group);
        }
    }

    /// <summary>Whether the first version is newer than the second; false when they cannot be compared.</summary>
    internal static bool IsNewer(string a, string b) =>
        ulong.TryParse(a, NumberStyles.None, CultureInfo.InvariantCulture, out ulong first)
        && ulong.TryParse(b, NumberStyles.None, CultureInfo.InvariantCulture, out ulong second) && first > second;
}

/// <summary>A state with its version.</summary>
/// <typeparam name="T">State of one object.</typeparam>
/// <param name="Version">The object's resourceVersion.</param>
/// <param name="Value">The state.</param>
internal sealed record Cached<T>(string Version, T Value);
