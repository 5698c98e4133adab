using Xunit.Sdk;
using Xunit.v3;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>Runs the outage of the API server at the end: Kubernetes' own components need up to a minute after it.</summary>
public sealed class OutageLast : ITestCollectionOrderer
{
    /// <inheritdoc/>
    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(
        IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection =>
        [.. testCollections.OrderBy(c => c.TestCollectionDisplayName.Contains(nameof(OutageTests), StringComparison.Ordinal))
            .ThenBy(c => c.TestCollectionDisplayName, StringComparer.Ordinal)];
}
