namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Keeps a cache equal to the objects of a kind in all namespaces, by one watch, or in some, by a watch for each.</summary>
/// <typeparam name="T">What is kept of each object.</typeparam>
internal sealed class NamespaceWatch<T> : IDisposable
    where T : class
{
    private readonly ListWatcher<T>[] _parts;

    /// <summary>Creates the watches.</summary>
    /// <param name="api">Path of the API, for example /api/v1.</param>
    /// <param name="plural">Plural of the kind.</param>
    /// <param name="namespaces">The namespaces; none for all.</param>
    /// <param name="watch">Makes a watch of a path.</param>
    public NamespaceWatch(string api, string plural, IReadOnlyList<string> namespaces, Func<string, ListWatcher<T>> watch) =>
        _parts = namespaces.Count == 0 ? [watch($"{api}/{plural}")] : [.. namespaces.Select(ns => watch($"{api}/namespaces/{ns}/{plural}"))];

    /// <summary>Paths of the lists that are not there yet.</summary>
    public IEnumerable<string> Missing => _parts.Where(p => !p.Synced.IsCompletedSuccessfully).Select(p => p.Path);

    /// <summary>Completes when all lists are there.</summary>
    public Task Synced => Task.WhenAll(_parts.Select(p => p.Synced));

    /// <summary>Whether the cache holds everything up to a version.</summary>
    public bool HasSeen(long version) => _parts.All(p => p.HasSeen(version));

    /// <summary>Lists once more, see <see cref="ListWatcher{T}.ListAgainAsync"/>.</summary>
    public Task ListAgainAsync(CancellationToken stop) => Task.WhenAll(_parts.Select(p => p.ListAgainAsync(stop)));

    /// <summary>Runs until cancelled.</summary>
    public Task RunAsync(CancellationToken stop) => Task.WhenAll(_parts.Select(p => p.RunAsync(stop)));

    /// <inheritdoc/>
    public void Dispose() => Array.ForEach(_parts, p => p.Dispose());
}
