namespace DeepSpeedSharp.Operator;

/// <summary>Every line this program logs.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Information, "Watching {Scope} on {Server}, metrics on port {Port} (0: none)")]
    public static partial void Starting(ILogger log, string scope, string server, int port);

    [LoggerMessage(2, LogLevel.Information, "Caches are filled: {Jobs} jobs, {Pods} pods")]
    public static partial void Synced(ILogger log, int jobs, int pods);

    [LoggerMessage(3, LogLevel.Debug, "Listed {Path}: {Count} objects at version {Version}")]
    public static partial void Listed(ILogger log, string path, int count, string version);

    [LoggerMessage(4, LogLevel.Information, "Listing {Path} again: {Reason}")]
    public static partial void ListAgain(ILogger log, string path, string reason);

    [LoggerMessage(5, LogLevel.Warning, "Watching {Path} failed, trying again: {Reason}")]
    public static partial void WatchFailed(ILogger log, string path, string reason);

    [LoggerMessage(6, LogLevel.Warning, "A pass of {Key} failed, the next one in {Seconds} s: {Reason}")]
    public static partial void PassFailed(ILogger log, string key, double seconds, Exception? e, string reason);

    [LoggerMessage(7, LogLevel.Warning, "Event {Reason} of {Name} was not written: {Failure}")]
    public static partial void EventLost(ILogger log, string reason, string name, string failure);

    [LoggerMessage(8, LogLevel.Information, "Job {Key}: {Phase}, attempt {Attempt}, {Reason}: {Message}")]
    public static partial void JobEvent(ILogger log, string key, string? phase, int attempt, string reason, string message);

    [LoggerMessage(9, LogLevel.Debug, "Job {Key}: created {Count} pods of attempt {Attempt}")]
    public static partial void PodsCreated(ILogger log, string key, int count, int attempt);

    [LoggerMessage(10, LogLevel.Debug, "Job {Key}: deleting pod {Pod}")]
    public static partial void DeletingPod(ILogger log, string key, string pod);

    [LoggerMessage(11, LogLevel.Debug, "Job {Key}: no progress from {Url}: {Reason}")]
    public static partial void NoProgress(ILogger log, string key, string url, string reason);

    [LoggerMessage(12, LogLevel.Error, "Job {Key} has a status that cannot be read; it is left alone until that is mended")]
    public static partial void UnreadableStatus(ILogger log, string key);

    [LoggerMessage(14, LogLevel.Information, "Job {Key}: deleting it, {Seconds} s after its end")]
    public static partial void DeletingJob(ILogger log, string key, int seconds);

    [LoggerMessage(15, LogLevel.Information, "{Identity} leads now, by lease {Lease}")]
    public static partial void BecameLeader(ILogger log, string identity, string lease);

    [LoggerMessage(16, LogLevel.Information, "Gave lease {Lease} back")]
    public static partial void GaveUpLead(ILogger log, string lease);

    [LoggerMessage(17, LogLevel.Warning, "Lease {Lease} could not be taken or renewed: {Reason}")]
    public static partial void LeaseFailed(ILogger log, string lease, string reason);

    [LoggerMessage(30, LogLevel.Warning, "Not looking after jobs yet: {Reason}")]
    public static partial void GateClosed(ILogger log, string reason);

    [LoggerMessage(31, LogLevel.Information, "May not look at {Path}, so whether it is as new as this operator is not checked: {Reason}")]
    public static partial void GateUnseen(ILogger log, string path, string reason);

    [LoggerMessage(32, LogLevel.Warning, "A reader of the metrics could not be reviewed: {Reason}")]
    public static partial void ReviewFailed(ILogger log, string reason);

    [LoggerMessage(33, LogLevel.Warning, "The certificate in {Folder} cannot be read, going on with the last one: {Reason}")]
    public static partial void CertificateUnreadable(ILogger log, string folder, string reason);

    [LoggerMessage(13, LogLevel.Information, "Stopped")]
    public static partial void Stopped(ILogger log);
}
