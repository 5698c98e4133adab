using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>What the fake API server answers with an error.</summary>
internal sealed class StoreException(HttpStatusCode code, string reason, string message) : Exception(message)
{
    public HttpStatusCode Code { get; } = code;

    public JsonObject ToStatus() => new()
    {
        ["kind"] = "Status",
        ["apiVersion"] = "v1",
        ["status"] = "Failure",
        ["message"] = Message,
        ["reason"] = reason,
        ["code"] = (int)Code,
    };
}

/// <summary>One change of an object, told under the lock of the store, so that nothing slips between two of them.</summary>
/// <param name="Plural">Kind of the object.</param>
/// <param name="Verb">create, patch, put, apply or delete; null for what another component than a client did.</param>
/// <param name="Client">Whose request it was; null for the world outside the operator.</param>
/// <param name="Before">The object before, null when there was none; not to be changed.</param>
/// <param name="After">The object after, null when it is gone; not to be changed.</param>
internal sealed record StoreChange(string Plural, string? Verb, string? Client, JsonObject? Before, JsonObject? After);

/// <summary>The objects of the fake API server, with one version for all and the history that watches need.</summary>
internal sealed class ObjectStore
{
    private const int MostHistory = 6000;

    private readonly Lock _lock = new();
    private readonly SortedDictionary<string, JsonObject> _objects = new(StringComparer.Ordinal);
    private readonly List<(long Version, string Plural, string Type, JsonObject Object)> _history = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Dictionary<string, long> _latest = [];
    private readonly Dictionary<string, (long Version, Queue<JsonObject> Left)> _lists = [];
    private long _version = 100;

    // Watches from before this version are told that it is gone.
    private long _oldestKept;
    private int _uids;

    /// <summary>Clock of timestamps; without one it is always the beginning of 2026.</summary>
    public TimeProvider? Time { get; set; }

    /// <summary>Watches that began before this number was raised end.</summary>
    public int WatchEpoch { get; private set; }

    /// <summary>Called for every created object, before it is stored.</summary>
    public Action<string, JsonObject>? Creating { get; set; }

    /// <summary>Called for every change, right before watchers hear of it.</summary>
    public Action<StoreChange>? Changing { get; set; }

    /// <summary>Namespaces that are being deleted: nothing new is taken.</summary>
    public HashSet<string> Terminating { get; } = [];

    /// <summary>Whether deleted pods that run stay, marked, until somebody ends them: as with a kubelet.</summary>
    public bool PodsEndSlowly { get; set; }

    /// <summary>Names of all objects ever created, as "plural/name".</summary>
    public List<string> Created { get; } = [];

    public Task NextChange
    {
        get
        {
            lock (_lock)
            {
                return _changed.Task;
            }
        }
    }

    /// <summary>A page of a list. All pages show the moment of the first one, as those of a real server do.</summary>
    public JsonObject List(ResourcePath path, string selector, int limit, string? continueFrom)
    {
        lock (_lock)
        {
            string token = continueFrom ?? $"{_version}-{++_uids}";
            if (continueFrom is null)
            {
                _lists[token] = (_version, new Queue<JsonObject>(_objects.Where(o => Matches(o.Key, o.Value, path, selector)).Select(o => o.Value.DeepClone().AsObject())));
            }

            if (!_lists.TryGetValue(token, out (long Version, Queue<JsonObject> Left) list))
            {
                throw new StoreException(HttpStatusCode.Gone, "Expired", "the continue token is too old");
            }

            var metadata = new JsonObject { ["resourceVersion"] = Text(list.Version) };
            var items = new JsonArray();
            while (list.Left.Count > 0 && (limit == 0 || items.Count < limit))
            {
                items.Add(list.Left.Dequeue());
            }

            if (list.Left.Count > 0)
            {
                metadata["continue"] = token;
            }
            else
            {
                _lists.Remove(token);
            }

            return new JsonObject { ["kind"] = "List", ["metadata"] = metadata, ["items"] = items };
        }
    }

    public JsonObject Get(ResourcePath path)
    {
        lock (_lock)
        {
            return Find(path).DeepClone().AsObject();
        }
    }

    /// <summary>The object, or null.</summary>
    public JsonObject? Find(string plural, string name, string ns = "default")
    {
        lock (_lock)
        {
            return _objects.GetValueOrDefault($"{plural}/{ns}/{name}")?.DeepClone().AsObject();
        }
    }

    public IReadOnlyList<JsonObject> All(string plural)
    {
        lock (_lock)
        {
            return [.. _objects.Where(o => o.Key.StartsWith(plural + "/", StringComparison.Ordinal)).Select(o => o.Value.DeepClone().AsObject())];
        }
    }

    public JsonObject Create(ResourcePath path, JsonObject body, string? client = null)
    {
        lock (_lock)
        {
            string name = (string)body["metadata"]!["name"]!;
            string key = $"{path.Plural}/{path.Namespace}/{name}";
            if (Terminating.Contains(path.Namespace ?? ""))
            {
                throw new StoreException(HttpStatusCode.Forbidden, "Forbidden",
                    $"{path.Plural} \"{name}\" is forbidden: unable to create new content in namespace {path.Namespace} because it is being terminated");
            }

            if (_objects.ContainsKey(key))
            {
                throw new StoreException(HttpStatusCode.Conflict, "AlreadyExists", $"{path.Plural} \"{name}\" already exists");
            }

            Creating?.Invoke(path.Plural, body);
            Created.Add($"{path.Plural}/{name}");
            JsonNode metadata = body["metadata"]!;
            metadata["namespace"] = path.Namespace;
            metadata["uid"] = $"uid-{++_uids}";
            metadata["creationTimestamp"] = After(TimeSpan.Zero);
            metadata["generation"] = 1L;
            Changing?.Invoke(new StoreChange(path.Plural, "create", client, null, body));
            _objects[key] = body;
            Publish(key, "ADDED");
            return body.DeepClone().AsObject();
        }
    }

    public JsonObject Patch(ResourcePath path, JsonObject patch, string? client = null)
    {
        lock (_lock)
        {
            JsonObject current = Find(path);
            if (patch["metadata"]?["resourceVersion"] is { } expected && (string?)expected != (string?)current["metadata"]!["resourceVersion"])
            {
                throw new StoreException(HttpStatusCode.Conflict, "Conflict", "the object has been modified");
            }

            // A status patch changes the status alone, and any other one does not.
            string part = path.Subresource ?? "spec";
            JsonObject whole = current.DeepClone().AsObject();
            JsonNode? before = whole[part];
            Merge(current, path.Plural == "events" ? patch : new JsonObject { [part] = patch[part]?.DeepClone() ?? new JsonObject() });
            if (patch["metadata"]?["annotations"] is { } annotations)
            {
                Merge(current["metadata"]!.AsObject(), new JsonObject { ["annotations"] = annotations.DeepClone() });
            }

            if (part == "spec" && !JsonNode.DeepEquals(before, current["spec"]))
            {
                current["metadata"]!["generation"] = (long)current["metadata"]!["generation"]! + 1;
            }

            Changing?.Invoke(new StoreChange(path.Plural, "patch", client, whole, current));
            Publish($"{path.Plural}/{path.Namespace}/{path.Name}", "MODIFIED");
            return current.DeepClone().AsObject();
        }
    }

    public JsonObject Put(ResourcePath path, JsonObject body, string? client = null)
    {
        lock (_lock)
        {
            JsonObject current = Find(path);
            if ((string?)body["metadata"]!["resourceVersion"] != (string?)current["metadata"]!["resourceVersion"])
            {
                throw new StoreException(HttpStatusCode.Conflict, "Conflict", "the object has been modified");
            }

            JsonNode metadata = current["metadata"]!.DeepClone();
            body["metadata"] = metadata;
            string key = $"{path.Plural}/{path.Namespace}/{path.Name}";
            Changing?.Invoke(new StoreChange(path.Plural, "put", client, current, body));
            _objects[key] = body;
            Publish(key, "MODIFIED");
            return body.DeepClone().AsObject();
        }
    }

    /// <summary>Server-side apply with force, of one manager: objects are merged, lists replaced.</summary>
    public JsonObject Apply(ResourcePath path, JsonObject body, string? client = null)
    {
        lock (_lock)
        {
            JsonObject current = Find(path);
            JsonObject before = current.DeepClone().AsObject();
            Merge(current, body);
            Changing?.Invoke(new StoreChange(path.Plural, "apply", client, before, current));
            Publish($"{path.Plural}/{path.Namespace}/{path.Name}", "MODIFIED");
            return Find(path).DeepClone().AsObject();
        }
    }

    /// <summary>Version of the newest change of a kind.</summary>
    public long VersionOf(string plural)
    {
        lock (_lock)
        {
            return _latest.GetValueOrDefault(plural);
        }
    }

    /// <summary>Changes an object as another component would.</summary>
    public void Change(string plural, string name, Action<JsonObject> change, string ns = "default")
    {
        lock (_lock)
        {
            if (_objects.TryGetValue($"{plural}/{ns}/{name}", out JsonObject? current))
            {
                JsonObject before = current.DeepClone().AsObject();
                change(current);
                Changing?.Invoke(new StoreChange(plural, null, null, before, current));
                string key = $"{plural}/{ns}/{name}";
                bool isOver = current["metadata"]!["deletionTimestamp"] is not null && current["metadata"]!["finalizers"]?.AsArray().Count == 0;
                Publish(key, isOver ? "DELETED" : "MODIFIED");
                if (isOver)
                {
                    _objects.Remove(key);
                }
            }
        }
    }

    /// <summary>Deletes an object; pods that run only begin to end, when <see cref="PodsEndSlowly"/>.</summary>
    /// <param name="path">The object.</param>
    /// <param name="uid">Its identity, when that matters.</param>
    /// <param name="atOnce">Whether it is gone without a grace period.</param>
    /// <param name="client">Whose request it is.</param>
    /// <param name="version">Its version, when that matters.</param>
    public JsonObject Delete(ResourcePath path, string? uid, bool atOnce = true, string? client = null, string? version = null)
    {
        lock (_lock)
        {
            JsonObject current = Find(path);
            if (uid is not null && uid != (string?)current["metadata"]!["uid"])
            {
                throw new StoreException(HttpStatusCode.Conflict, "Conflict", "the UID in the precondition does not match");
            }

            if (version is not null && version != (string?)current["metadata"]!["resourceVersion"])
            {
                throw new StoreException(HttpStatusCode.Conflict, "Conflict", "the resource version in the precondition does not match");
            }

            string key = $"{path.Plural}/{path.Namespace}/{path.Name}";
            if (current["metadata"]!["finalizers"]?.AsArray().Count > 0)
            {
                current["metadata"]!["deletionTimestamp"] ??= "2026-01-01T00:00:30Z";
                Publish(key, "MODIFIED");
                return current.DeepClone().AsObject();
            }

            if (PodsEndSlowly && !atOnce && path.Plural == "pods" && (string?)current["status"]?["phase"] == "Running")
            {
                if (current["metadata"]!["deletionTimestamp"] is null)
                {
                    JsonObject before = current.DeepClone().AsObject();
                    int grace = (int?)current["spec"]?["terminationGracePeriodSeconds"] ?? 30;
                    current["metadata"]!["deletionTimestamp"] = After(TimeSpan.FromSeconds(grace));
                    current["metadata"]!["deletionGracePeriodSeconds"] = grace;
                    Changing?.Invoke(new StoreChange(path.Plural, "delete", client, before, current));
                    Publish(key, "MODIFIED");
                }

                return current.DeepClone().AsObject();
            }

            Changing?.Invoke(new StoreChange(path.Plural, "delete", client, current, null));
            Publish(key, "DELETED");
            _objects.Remove(key);
            return current.DeepClone().AsObject();
        }
    }

    /// <summary>What happened after a version to the objects of a watch, and the version of the whole store at that moment;
    /// null when that version is not kept any more.</summary>
    public (IReadOnlyList<JsonObject> Lines, long UpTo)? Since(ResourcePath path, string selector, long version)
    {
        lock (_lock)
        {
            if (version < _oldestKept)
            {
                return null;
            }

            int first = _history.Count;
            while (first > 0 && _history[first - 1].Version > version)
            {
                first--;
            }

            return ([.. _history.Skip(first)
                .Where(h => h.Plural == path.Plural && Selected(h.Object, selector)
                    && (path.Namespace is null || path.Namespace == (string?)h.Object["metadata"]!["namespace"]))
                .Select(h => new JsonObject { ["type"] = h.Type, ["object"] = h.Object.DeepClone() })], _version);
        }
    }

    /// <summary>Forgets the history, as after five minutes in etcd.</summary>
    public void Compact()
    {
        lock (_lock)
        {
            _history.Clear();
            _oldestKept = ++_version;
            Signal();
        }
    }

    /// <summary>Closes every watch in good order.</summary>
    public void EndWatches()
    {
        lock (_lock)
        {
            WatchEpoch++;
            Signal();
        }
    }

    private JsonObject Find(ResourcePath path) =>
        _objects.GetValueOrDefault($"{path.Plural}/{path.Namespace}/{path.Name}")
        ?? throw new StoreException(HttpStatusCode.NotFound, "NotFound", $"{path.Plural} \"{path.Name}\" not found");

    private void Publish(string key, string type)
    {
        JsonObject current = _objects[key];
        current["metadata"]!["resourceVersion"] = Text(++_version);
        string plural = key.Split('/')[0];
        _latest[plural] = _version;
        if (_history.Count >= MostHistory)
        {
            _history.RemoveRange(0, MostHistory / 2);
            _oldestKept = _history[0].Version - 1;
        }

        _history.Add((_version, plural, type, current.DeepClone().AsObject()));
        Signal();
    }

    private string After(TimeSpan wait) =>
        ((Time?.GetUtcNow() ?? new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero)) + wait).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private void Signal()
    {
        TaskCompletionSource changed = _changed;
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.SetResult();
    }

    private static bool Matches(string key, JsonObject value, ResourcePath path, string selector) =>
        key.StartsWith($"{path.Plural}/{(path.Namespace is null ? "" : path.Namespace + "/")}", StringComparison.Ordinal)
        && Selected(value, selector);

    private static bool Selected(JsonObject value, string selector) =>
        selector.Split(',', StringSplitOptions.RemoveEmptyEntries).All(term =>
        {
            string[] parts = term.Split("!=");
            bool negative = parts.Length == 2;
            parts = negative ? parts : term.Split('=');
            return ((string?)value["metadata"]?["labels"]?[parts[0]] == parts[1]) != negative;
        });

    private static void Merge(JsonObject target, JsonObject patch)
    {
        foreach ((string name, JsonNode? value) in patch.ToArray())
        {
            if (value is null)
            {
                target.Remove(name);
            }
            else if (value is JsonObject child && target[name] is JsonObject existing)
            {
                Merge(existing, child);
            }
            else if (value is JsonObject created)
            {
                var fresh = new JsonObject();
                target[name] = fresh;
                Merge(fresh, created);
            }
            else
            {
                target[name] = value.DeepClone();
            }
        }
    }

    private static string Text(long version) => version.ToString(CultureInfo.InvariantCulture);
}
