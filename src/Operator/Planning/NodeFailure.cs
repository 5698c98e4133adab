using System.Globalization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What a failure means for the job.</summary>
internal enum FailureKind
{
    /// <summary>Nobody's fault: restarted without counting.</summary>
    Disruption,

    /// <summary>The program said that trying again cannot help: the job fails.</summary>
    Refusal,

    /// <summary>Anything else: restarted, and counted.</summary>
    Counted,
}

/// <summary>A node that failed, and what that means.</summary>
/// <param name="Index">Index of the node.</param>
/// <param name="Kind">What it means for the job.</param>
/// <param name="Time">When it happened; null for a pod that vanished.</param>
/// <param name="Reason">In one word.</param>
/// <param name="Message">In a sentence, with the program's own words.</param>
/// <param name="Pod">The pod, when it is still there.</param>
internal sealed record NodeFailure(
    int Index, FailureKind Kind, DateTimeOffset? Time, string Reason, string Message, PodSnapshot? Pod)
{
    // A rank that lost its neighbour fails because of somebody else, at most so much later than the cause.
    private static readonly TimeSpan PeerLostDelay = TimeSpan.FromSeconds(3);

    // Kubernetes' own reasons for ending a pod that say nothing about the program.
    private static readonly HashSet<string> PlatformReasons =
    [
        "Evicted", "Preempting", "NodeShutdown", "Shutdown", "Terminated", Reasons.NodeLost, "UnexpectedAdmissionError",
        "NodeAffinity",
    ];

    /// <summary>All failures of the current attempt; the first one is the cause of the others.</summary>
    /// <param name="job">What was found.</param>
    public static IReadOnlyList<NodeFailure> Find(JobSnapshot job)
    {
        IReadOnlySet<int> succeeded = job.Succeeded;
        Dictionary<int, PodSnapshot> pods = job.CurrentPods.ToDictionary(p => p.Index);

        IEnumerable<NodeFailure> failures = Enumerable.Range(0, job.Desired)
            .Where(i => !succeeded.Contains(i))
            .Select(i => pods.TryGetValue(i, out PodSnapshot? pod) ? Lost(job, pod) ?? Of(pod) : job.AllWereCreated ? Vanished(job, i) : null)
            .OfType<NodeFailure>();
        NodeFailure[] all = [.. failures.OrderBy(f => f.EffectiveTime).ThenBy(f => f.Kind).ThenBy(f => f.IsConsequence).ThenBy(f => f.Index)];
        return all is [{ IsPeerLost: true } first, ..] && Silent(job, first) is { } silent ? [silent, .. all] : all;
    }

    /// <summary>The pod whose end tells of this failure, when that is another one than the pod that failed.</summary>
    public PodSnapshot? Witness { get; init; }

    /// <summary>The pod whose exit code and last words there are.</summary>
    public PodSnapshot? Evidence => Witness ?? Pod;

    /// <summary>The failure as part of a status.</summary>
    /// <param name="attempt">The attempt it ended.</param>
    /// <param name="policy">What is done about it.</param>
    /// <param name="now">Stands in for an unknown time.</param>
    public JobFailure ToStatus(int attempt, FailurePolicy policy, DateTimeOffset now) => new()
    {
        Attempt = attempt,
        Time = Time ?? now,
        Node = Index,
        Pod = Pod?.Name,
        ClusterNode = Pod?.ClusterNode,
        ExitCode = Pod?.ExitCode,
        Reason = Reason,
        Rule = policy.Rule?.Name,
        Action = policy.Action,
        Message = JobConditions.Shorten(Message),
    };

    private bool IsPeerLost => Pod?.ExitCode == ExitCodes.PeerLost;

    // When one rank is told to end, all of them agree to end after the same step.
    private bool IsConsequence => IsPeerLost || Reason == Reasons.Terminated;

    private DateTimeOffset EffectiveTime =>
        (Time ?? DateTimeOffset.MinValue) + (IsPeerLost ? PeerLostDelay : TimeSpan.Zero);

    // In the order of the strength of the evidence: what Kubernetes says goes before what the program says.
    private static NodeFailure? Of(PodSnapshot pod)
    {
        if (pod.DisruptionReason is { } disruption && (pod.IsFailed || pod.DeletedAt is not null))
        {
            return Make(FailureKind.Disruption, disruption, $"was ended by the cluster ({disruption})");
        }

        if (pod.IsFailed && pod.Reason is { } reason && (PlatformReasons.Contains(reason) || reason.StartsWith("OutOf", StringComparison.Ordinal)))
        {
            return Make(FailureKind.Disruption, reason, $"was ended by the cluster ({reason})");
        }

        // The operator deletes pods of the current attempt only when the job is suspended or over. A pod that had
        // failed before somebody cleared it away is no disruption.
        if (pod.DeletedAt is not null && !(pod.IsFailed && pod.FinishedAt < pod.DeletedAt))
        {
            return Make(FailureKind.Disruption, Reasons.PodDeleted, "was deleted");
        }

        if (!pod.IsFailed)
        {
            return null;
        }

        WorkerMessage said = WorkerMessage.Parse(pod.TerminationMessage);
        string code = string.Create(CultureInfo.InvariantCulture, $"exit code {pod.ExitCode}");
        return pod.ExitCode switch
        {
            ExitCodes.Usage or ExitCodes.BadData or ExitCodes.Configuration when said.IsRetryable != true =>
                Make(FailureKind.Refusal, Reasons.WorkerRefused, $"gave up with {code}"),
            ExitCodes.Terminated => Make(FailureKind.Disruption, Reasons.Terminated, $"was told to end ({code})"),
            ExitCodes.PeerLost => Make(FailureKind.Counted, Reasons.PeerLost, $"lost another rank ({code})"),
            null => Make(FailureKind.Counted, pod.Reason ?? Reasons.NodeFailed, "failed"),
            _ when pod.TerminatedReason == "OOMKilled" => Make(FailureKind.Counted, "OOMKilled", $"ran out of memory ({code})"),
            ExitCodes.Killed => Make(FailureKind.Counted, Reasons.NodeFailed, $"was killed ({code}, SIGKILL)"),
            _ => Make(FailureKind.Counted, Reasons.NodeFailed, $"failed with {code}"),
        };

        NodeFailure Make(FailureKind kind, string word, string happened)
        {
            string? words = WorkerMessage.Parse(pod.TerminationMessage).Message ?? pod.Message;
            return new NodeFailure(pod.Index, kind, pod.DeletedAt is { } deleted && kind == FailureKind.Disruption
                ? Earlier(deleted, pod.FinishedAt) : pod.FinishedAt, word,
                $"{Where(pod.Index, pod)} {happened}{(words is null ? "" : $": {words}")}", pod);
        }
    }

    /// <summary>A node with its pod, machine and ranks, for messages.</summary>
    public static string WithRanks(JobSnapshot job, int index, PodSnapshot? pod)
    {
        int slots = Slots(job);
        string ranks = slots == 1
            ? string.Create(CultureInfo.InvariantCulture, $"rank {index}")
            : string.Create(CultureInfo.InvariantCulture, $"ranks {index * slots}-{(index + 1) * slots - 1}");
        return Where(index, pod?.Name ?? WorkerPods.Name(job.Name, job.Status.Attempt, index), pod?.ClusterNode, $", {ranks}");
    }

    private static int Slots(JobSnapshot job) => Math.Max(1, (job.Status.WorldSize ?? 0) / Math.Max(1, job.Desired));

    private static string Where(int index, PodSnapshot pod) => Where(index, pod.Name, pod.ClusterNode);

    private static string Where(int index, string pod, string? machine, string more = "") => string.Create(CultureInfo.InvariantCulture,
        $"node {index} (pod {pod}{(machine is null ? "" : $" on {machine}")}{more})");

    // Nothing says how the pod is: its machine does not answer. That somebody has deleted it by now follows from that.
    private static NodeFailure? Lost(JobSnapshot job, PodSnapshot pod) => !pod.IsFinished && job.LostSince(pod) is { } since
        ? new NodeFailure(pod.Index, FailureKind.Disruption, since, Reasons.NodeLost, string.Create(CultureInfo.InvariantCulture,
            $"{Where(pod.Index, pod)} is out of reach: its machine does not answer since {since.UtcDateTime:HH:mm:ss} UTC"), pod)
        : null;

    // The others lost a rank whose pod has not ended: it hangs, or its machine or network is gone. That one is to be looked
    // at, and not the first that noticed. When its machine does not answer either, the program is not to blame.
    private static NodeFailure? Silent(JobSnapshot job, NodeFailure noticed)
    {
        int[] nodes = [.. WorkerMessage.Parse(noticed.Pod?.TerminationMessage).LostRanks.Select(rank => rank / Slots(job)).Distinct()];
        if (nodes.Length == 0 || job.CurrentPods.FirstOrDefault(p => p.Index == nodes[0]) is not { IsFinished: false, DeletedAt: null } pod)
        {
            return null;
        }

        bool machineIsSilent = pod.ClusterNode is { } machine && job.NotReady.ContainsKey(machine);
        string others = nodes.Length == 1 ? "" : $", as do nodes {NodeRanges.Format(nodes.Skip(1))}";
        return new NodeFailure(pod.Index, machineIsSilent ? FailureKind.Disruption : FailureKind.Counted, noticed.Time,
            machineIsSilent ? Reasons.NodeLost : Reasons.PeerLost,
            $"{Where(pod.Index, pod)} fell silent{others}: {noticed.Message}", pod)
        { Witness = noticed.Pod };
    }

    private static DateTimeOffset Earlier(DateTimeOffset a, DateTimeOffset? b) => b < a ? b.Value : a;

    private static NodeFailure Vanished(JobSnapshot job, int index)
    {
        string where = Where(index, WorkerPods.Name(job.Name, job.Status.Attempt, index), null);
        return new NodeFailure(index, FailureKind.Disruption, null, Reasons.PodDeleted, $"{where} is gone", null);
    }
}
