namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Brings the cluster towards what an object asks for. One call is one pass; passes of one object never overlap.</summary>
/// <typeparam name="T">The kind of object.</typeparam>
internal interface IEntityController<in T>
{
    /// <summary>Makes one pass. May be called at any time, any number of times; an exception is retried with growing waits.</summary>
    /// <param name="entity">The newest known state of the object; not to be changed.</param>
    /// <param name="cancel">Ends the pass.</param>
    Task<ReconcileResult> ReconcileAsync(T entity, CancellationToken cancel);

    /// <summary>Forgets an object that is gone, and lets go what is left of it. May be called again for each thing that is.</summary>
    /// <param name="key">Its namespace and name.</param>
    /// <param name="cancel">Ends the pass.</param>
    Task DeletedAsync(string key, CancellationToken cancel);
}

/// <summary>When an object wants its next pass; events make passes in any case.</summary>
/// <param name="After">Time until then; null when events are enough.</param>
internal readonly record struct ReconcileResult(TimeSpan? After)
{
    /// <summary>Nothing to do until something happens.</summary>
    public static ReconcileResult Done => default;

    /// <summary>Look again after a while.</summary>
    public static ReconcileResult RequeueAfter(TimeSpan time) => new(time);
}
