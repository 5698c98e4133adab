using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Resources;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Everything a decision depends on, as one pass found it.</summary>
internal sealed record JobSnapshot
{
    // Found when asked for, and again when it may have changed: a pass looks at these pods many times.
    private PodSnapshot[]? _current;

    /// <summary>Name of the job.</summary>
    public required string Name { get; init; }

    /// <summary>Identity of the job.</summary>
    public string Uid { get; init; } = "";

    /// <summary>Generation of the spec.</summary>
    public required long Generation { get; init; }

    /// <summary>The spec; null when it could not be read, and then there are problems.</summary>
    public required DeepSpeedJobSpec? Spec { get; init; }

    /// <summary>The spec's <see cref="Planning.SpecHash"/>, when it is known already.</summary>
    public string? SpecHash { get; init; }

    /// <summary>What is wrong with the spec or its config.</summary>
    public IReadOnlyList<ConfigError> Problems { get; init; } = [];

    /// <summary>The DeepSpeed config; null when the job has none, or it was not needed in this pass.</summary>
    public string? Config { get; init; }

    /// <summary>Why the referenced config cannot be had yet; null when it is there or not needed.</summary>
    public string? ConfigWait { get; init; }

    /// <summary>The status as last written.</summary>
    public required DeepSpeedJobStatus Status
    {
        get;
        init
        {
            bool isSame = field is not null && field.Attempt == value.Attempt && field.Nodes?.Desired == value.Nodes?.Desired;
            field = value;
            _current = isSame ? _current : null;
        }
    }

    /// <summary>All pods of the job, of every attempt.</summary>
    public IReadOnlyList<PodSnapshot> Pods
    {
        get;
        init
        {
            field = value;
            _current = null;
        }
    } = [];

    /// <summary>Whether the Service that gives the pods their names is there.</summary>
    public bool HasService { get; init; } = true;

    /// <summary>The PodGroup of the current attempt, where its state matters; null when it is not known to exist.</summary>
    public GroupSnapshot? Group { get; init; }

    /// <summary>The latest report of rank 0.</summary>
    public ProgressReport? Progress { get; init; }

    /// <summary>When rank 0 last reported another step than before; null when it did not yet.</summary>
    public DateTimeOffset? MovedAt { get; init; }

    /// <summary>Step of each node that was asked because training does not move; null for one that did not answer.</summary>
    public IReadOnlyDictionary<int, long?> NodeSteps { get; init; } = new Dictionary<int, long?>();

    /// <summary>Machines that do not answer, and for how long.</summary>
    public IReadOnlyDictionary<string, Silence> NotReady { get; init; } = new Dictionary<string, Silence>();

    /// <summary>When this process first saw a failure of the current attempt.</summary>
    public DateTimeOffset? FailureSeenAt { get; init; }

    /// <summary>The time of the pass, in whole seconds.</summary>
    public required DateTimeOffset Now { get; init; }

    /// <summary>Number of pods of the current attempt; fixed when it begins, whatever happens to the spec.</summary>
    public int Desired => Status.Nodes?.Desired ?? Spec?.Pods() ?? 0;

    /// <summary>Pods of the current attempt.</summary>
    public IReadOnlyList<PodSnapshot> CurrentPods => _current ??= [.. Pods.Where(p => p.Attempt == Status.Attempt
        && p.Index >= 0 && p.Index < Desired && WorkerPods.IsName(p.Name, Name, p.Attempt, p.Index))];

    /// <summary>Whether all pods of the current attempt were there once. Only then is a missing one a lost one; before, it is
    /// simply created.</summary>
    public bool AllWereCreated => Status.Attempt > 0 && Status.CreatedAttempt == Status.Attempt;

    /// <summary>Whether pods of a job that goes on seem to be lost without a trace.</summary>
    public bool MissesPods => AllWereCreated && Spec?.IsSuspended() != true && !Status.IsSuspending() && !Status.IsFinished()
        && CurrentPods.Select(p => p.Index).Union(Succeeded).Count() < Desired;

    /// <summary>Pods of attempts that are over.</summary>
    public IEnumerable<PodSnapshot> OlderPods => Pods.Where(p => p.Attempt < Status.Attempt);

    /// <summary>Since when the machine of a pod does not answer, when that is long enough to take the pod for lost.</summary>
    public DateTimeOffset? LostSince(PodSnapshot pod) => pod.ClusterNode is { } machine
        && NotReady.TryGetValue(machine, out Silence silence) && silence.Length >= Spec.NodeLoss() ? silence.Since : null;

    /// <summary>Whether a pod cannot end by itself any more: its machine is lost, or did not end it in time.</summary>
    public bool IsLost(PodSnapshot pod) => LostSince(pod) is not null || pod.DeletionDeadline + Spec.NodeLoss() < Now;

    /// <summary>Nodes that succeeded, also when their pod is gone by now.</summary>
    public IReadOnlySet<int> Succeeded =>
        NodeRanges.Parse(Status.SucceededNodes).Union(CurrentPods.Where(p => p.IsSucceeded).Select(p => p.Index)).ToHashSet();
}
