using System.ComponentModel;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Api.V1Alpha1;

/// <summary>What the operator did and saw. Attempt and the two counters decide everything that follows.</summary>
/// <remarks>Strings where other programs might use an enum: an unknown word must not make an object unreadable.</remarks>
public sealed record DeepSpeedJobStatus
{
    /// <summary>Generation of the spec that this status speaks of.</summary>
    [Description("Generation of the spec that this status speaks of.")]
    public long? ObservedGeneration { get; init; }

    /// <summary>One-word summary, derived from the conditions.</summary>
    [Description("One-word summary: Pending, Suspended, Scheduling, Starting, Running, Restarting, Complete or Failed. Conditions say more.")]
    public string? Phase { get; init; }

    /// <summary>What the job waits for, or why it failed: the message of the condition that matters most.</summary>
    [Description("What the job waits for, or why it failed: the message of the condition that matters most now.")]
    public string? Message { get; init; }

    /// <summary>Number of the current start of all pods, from 1; part of their names.</summary>
    [Description("Number of the current start of all pods, from 1; part of their names.")]
    public int Attempt { get; init; }

    /// <summary>Last attempt all of whose pods were created; from then on a missing pod is a lost one.</summary>
    [Description("Last attempt all of whose pods were created; from then on a missing pod is a lost one.")]
    public int CreatedAttempt { get; init; }

    /// <summary>Restarts that count towards spec.restart.maxRestarts.</summary>
    [Description("Restarts that count towards spec.restart.maxRestarts.")]
    public int Restarts { get; init; }

    /// <summary>Restarts that do not count: pods were deleted, evicted or lost with their machine.</summary>
    [Description("Restarts that do not count: pods were deleted, evicted or lost with their machine.")]
    public int Disruptions { get; init; }

    /// <summary>Starts with another number of nodes.</summary>
    [Description("Starts with another number of nodes, by elastic.")]
    public int Resizes { get; init; }

    /// <summary>Starts after a suspension or an edit of the spec.</summary>
    [Description("Starts because the job was resumed, or its spec was edited before it ran.")]
    public int Resumes { get; init; }

    /// <summary>Failures without a long time of training between them; sets the wait before a restart.</summary>
    [Description("Failures without restart.resetAfterSeconds of training between them; sets the wait before the next start.")]
    public int ConsecutiveFailures { get; init; }

    /// <summary>Last attempt all of whose pods were ready at a time.</summary>
    [Description("Last attempt all of whose pods were ready at a time; from then on no startup deadline counts.")]
    public int ReadyAttempt { get; init; }

    /// <summary>Earliest time of the next start, while a restart waits.</summary>
    [Description("Earliest time of the next start, while a restart waits.")]
    public DateTimeOffset? NextStartTime { get; init; }

    /// <summary>Hash of the part of the spec that the current attempt was made from.</summary>
    [Description("Hash of the part of the spec that the current attempt was made from.")]
    public string? SpecHash { get; init; }

    /// <summary>Hash of the DeepSpeed config of the current attempt.</summary>
    [Description("Hash of the DeepSpeed config of the current attempt.")]
    public string? ConfigHash { get; init; }

    /// <summary>Batch sizes of the current attempt.</summary>
    [Description("Batch sizes of the current attempt, all three resolved; none when the program fills them from its arguments.")]
    public ResolvedBatch? Batch { get; init; }

    /// <summary>What a rank needs in the current attempt.</summary>
    [Description("Estimate of what a rank, and so a GPU, needs in the current attempt; only of jobs whose model.parameters and DeepSpeed config are known.")]
    public MemoryStatus? Memory { get; init; }

    /// <summary>How the pods of the current attempt are placed together.</summary>
    [Description("How the pods of the current attempt are placed together; only of jobs with a gang scheduler.")]
    public GangStatus? Gang { get; init; }

    /// <summary>What elastic decided.</summary>
    [Description("What elastic decided; only of jobs with elastic.")]
    public ElasticStatus? Elastic { get; init; }

    /// <summary>Machines that later attempts stay off.</summary>
    [Description("Machines that attempts stay off because of a rule with avoidNode, newest first.")]
    [MaxItems(16)]
    public IReadOnlyList<string>? AvoidedNodes { get; init; }

    /// <summary>Numbers of pods of the current attempt.</summary>
    [Description("Numbers of pods of the current attempt.")]
    public NodeCounts? Nodes { get; init; }

    /// <summary>Ready and finished pods of those wanted, for the printer column.</summary>
    [Description("Ready or succeeded pods, and pods wanted.")]
    public string? NodesText { get; init; }

    /// <summary>Pods that exist, for the scale subresource.</summary>
    [Description("Pods of the current attempt that exist, for the scale subresource.")]
    public int Replicas { get; init; }

    /// <summary>Selector of the job's pods, for the scale subresource.</summary>
    [Description("Label selector of the job's pods, for the scale subresource.")]
    public string? Selector { get; init; }

    /// <summary>Number of ranks.</summary>
    [Description("Number of ranks.")]
    public int? WorldSize { get; init; }

    /// <summary>Host and port of rank 0.</summary>
    [Description("Host and port of rank 0.")]
    public string? MasterAddress { get; init; }

    /// <summary>When the first attempt began.</summary>
    [Description("When the first attempt began.")]
    public DateTimeOffset? StartTime { get; init; }

    /// <summary>When the job began, or was last resumed: where its active deadline counts from.</summary>
    [Description("When the job began, or was last resumed; activeDeadlineSeconds counts from here.")]
    public DateTimeOffset? ActiveStartTime { get; init; }

    /// <summary>When the current attempt began; none while suspended.</summary>
    [Description("When the current attempt began; none while suspended.")]
    public DateTimeOffset? LastStartTime { get; init; }

    /// <summary>When the job completed or failed.</summary>
    [Description("When the job completed or failed.")]
    public DateTimeOffset? CompletionTime { get; init; }

    /// <summary>Nodes that succeeded in the current attempt, as ranges.</summary>
    [Description("Nodes that succeeded in the current attempt, as ranges such as 0-3,7.")]
    public string? SucceededNodes { get; init; }

    /// <summary>Where training stands.</summary>
    [Description("Where training stands.")]
    public JobProgress? Progress { get; init; }

    /// <summary>The latest failures, newest first.</summary>
    [Description("The latest failures, newest first.")]
    [MaxItems(5)]
    public IReadOnlyList<JobFailure>? LastFailures { get; init; }

    /// <summary>The state in the usual Kubernetes form.</summary>
    [Description("Scheduled, Running, Restarting, Suspended, Stalled, Complete and Failed, each with reason and message.")]
    [ListMapKey("type")]
    [MaxItems(16)]
    public IReadOnlyList<JobCondition>? Conditions { get; init; }
}

/// <summary>The three batch sizes of a DeepSpeed config, all known.</summary>
public sealed record ResolvedBatch
{
    /// <summary>Samples of one optimizer step over all ranks.</summary>
    [Description("Samples of one optimizer step over all ranks.")]
    public int TrainBatchSize { get; init; }

    /// <summary>Samples of one forward pass on one rank.</summary>
    [Description("Samples of one forward pass on one rank.")]
    public int MicroBatchSize { get; init; }

    /// <summary>Forward passes of one optimizer step on one rank.</summary>
    [Description("Forward passes of one optimizer step on one rank.")]
    public int GradientAccumulationSteps { get; init; }
}

/// <summary>What a rank needs, in bytes, estimated from the config.</summary>
/// <remarks>The runtime's own memory, about a gigabyte on a GPU, and fragmentation are not counted.</remarks>
public sealed record MemoryStatus
{
    /// <summary>In words.</summary>
    [Description("The estimate in words.")]
    public string? Text { get; init; }

    /// <summary>Everything on the GPU.</summary>
    [Description("Bytes on the GPU: model states, buffers, and activations when they are known.")]
    public long DeviceBytes { get; init; }

    /// <summary>Weights, gradients, masters and optimizer on the GPU.</summary>
    [Description("Bytes of weights, gradients, fp32 masters and optimizer state on the GPU.")]
    public long ModelStateBytes { get; init; }

    /// <summary>Buckets and gathered weights.</summary>
    [Description("Largest bytes of gradient buckets and, in stage 3, of gathered weights.")]
    public long BufferBytes { get; init; }

    /// <summary>Activations of a micro batch.</summary>
    [Description("Bytes of a micro batch's activations, for a transformer of usual shape; none without model.sequenceLength.")]
    public long? ActivationBytes { get; init; }

    /// <summary>What is offloaded to the CPU.</summary>
    [Description("Bytes offloaded to the memory of the machine, for each rank.")]
    public long? HostBytes { get; init; }

    /// <summary>What is offloaded to a disk.</summary>
    [Description("Bytes offloaded to a disk, for each rank.")]
    public long? NvmeBytes { get; init; }
}

/// <summary>How the pods of the current attempt are placed together.</summary>
public sealed record GangStatus
{
    /// <summary>Who places them.</summary>
    [Description("Who places the pods together: Volcano, Coscheduling or Kueue.")]
    public string Scheduler { get; init; } = "";

    /// <summary>Name of the PodGroup, or of Kueue's pod group and Workload.</summary>
    [Description("Name of the PodGroup of Volcano or Coscheduling, or of the pod group of Kueue, whose Workload has the same name.")]
    public string Group { get; init; } = "";

    /// <summary>The queue.</summary>
    [Description("The queue of the group, when the job names one.")]
    public string? Queue { get; init; }

    /// <summary>When the queue let the pods of the current attempt go.</summary>
    [Description("When the queue let the pods of the current attempt go; the time before does not count towards startupDeadlineSeconds.")]
    public DateTimeOffset? AdmittedTime { get; init; }
}

/// <summary>What elastic decided.</summary>
public sealed record ElasticStatus
{
    /// <summary>Numbers of nodes that the config fits, as ranges.</summary>
    [Description("Numbers of nodes between minNodes and maxNodes that the config fits, as ranges such as 8-9,12.")]
    public string? NodeCounts { get; init; }

    /// <summary>numNodes when the current attempt began.</summary>
    [Description("spec.numNodes when the current attempt began.")]
    public int Requested { get; init; }

    /// <summary>The last attempt that has more nodes than the one before.</summary>
    [Description("The last attempt that was begun to have more nodes than the one before.")]
    public int GrowthAttempt { get; init; }

    /// <summary>Tries to grow in a row that found no place.</summary>
    [Description("Tries to grow in a row that found no place; each doubles the time until the next.")]
    public int FailedGrowths { get; init; }
}

/// <summary>Numbers of pods of the current attempt.</summary>
public sealed record NodeCounts
{
    /// <summary>Pods wanted.</summary>
    [Description("Pods wanted.")]
    public int Desired { get; init; }

    /// <summary>Pods that exist.</summary>
    [Description("Pods that exist.")]
    public int Created { get; init; }

    /// <summary>Pods that have a machine.</summary>
    [Description("Pods that have a machine.")]
    public int Scheduled { get; init; }

    /// <summary>Pods whose program runs.</summary>
    [Description("Pods whose program runs.")]
    public int Ready { get; init; }

    /// <summary>Pods whose program ended well.</summary>
    [Description("Pods whose program ended well.")]
    public int Succeeded { get; init; }

    /// <summary>Pods whose program failed.</summary>
    [Description("Pods whose program failed.")]
    public int Failed { get; init; }
}

/// <summary>Where training stands, as rank 0 reports it.</summary>
public sealed record JobProgress
{
    /// <summary>Optimizer steps done.</summary>
    [Description("Optimizer steps done.")]
    public long? Step { get; init; }

    /// <summary>Optimizer steps of the whole run.</summary>
    [Description("Optimizer steps of the whole run.")]
    public long? TotalSteps { get; init; }

    /// <summary>Share of the steps that is done.</summary>
    [Description("Share of the steps that is done, 0 to 100.")]
    [Range(0, 100)]
    public int? Percent { get; init; }

    /// <summary>Time left at the current speed.</summary>
    [Description("Seconds left at the current speed.")]
    public long? EtaSeconds { get; init; }

    /// <summary>Training loss of the last step, as text because it may be NaN.</summary>
    [Description("Training loss of the last step; text, because it may be NaN.")]
    public string? Loss { get; init; }

    /// <summary>Speed over all ranks.</summary>
    [Description("Tokens per second over all ranks.")]
    public long? TokensPerSecond { get; init; }

    /// <summary>Step of the last complete checkpoint.</summary>
    [Description("Step of the last complete checkpoint.")]
    public long? LastCheckpointStep { get; init; }

    /// <summary>Time of the last complete checkpoint.</summary>
    [Description("Time of the last complete checkpoint.")]
    public DateTimeOffset? LastCheckpointTime { get; init; }

    /// <summary>When the operator last saw a change.</summary>
    [Description("When the operator last saw a change.")]
    public DateTimeOffset? UpdatedTime { get; init; }
}

/// <summary>One failure that ended an attempt.</summary>
public sealed record JobFailure
{
    /// <summary>The attempt it ended.</summary>
    [Description("The attempt it ended.")]
    public int Attempt { get; init; }

    /// <summary>When it happened.</summary>
    [Description("When it happened.")]
    public DateTimeOffset? Time { get; init; }

    /// <summary>Index of the node.</summary>
    [Description("Index of the node.")]
    public int Node { get; init; }

    /// <summary>Its pod.</summary>
    [Description("Its pod.")]
    public string? Pod { get; init; }

    /// <summary>The machine it ran on.</summary>
    [Description("The machine it ran on.")]
    public string? ClusterNode { get; init; }

    /// <summary>Exit code of the program.</summary>
    [Description("Exit code of the program.")]
    public int? ExitCode { get; init; }

    /// <summary>What kind of failure it was.</summary>
    [Description("What kind of failure it was, for example NodeFailed, PodDeleted or Evicted.")]
    public string? Reason { get; init; }

    /// <summary>The rule of spec.restart.rules that matched.</summary>
    [Description("The rule of spec.restart.rules that matched.")]
    public string? Rule { get; init; }

    /// <summary>What the operator did about it.</summary>
    [Description("What the operator did: Restart, RestartIgnoreLimit or FailJob.")]
    public string? Action { get; init; }

    /// <summary>What the program or Kubernetes said.</summary>
    [Description("What the program or Kubernetes said.")]
    public string? Message { get; init; }
}

/// <summary>A condition in the usual Kubernetes form.</summary>
public sealed record JobCondition
{
    /// <summary>Name of the condition.</summary>
    [Description("Name of the condition.")]
    public string Type { get; init; } = "";

    /// <summary>True, False or Unknown.</summary>
    [Description("True, False or Unknown.")]
    public string Status { get; init; } = "";

    /// <summary>Generation of the spec it was judged by.</summary>
    [Description("Generation of the spec it was judged by.")]
    public long? ObservedGeneration { get; init; }

    /// <summary>When the status last changed.</summary>
    [Description("When the status last changed.")]
    public DateTimeOffset? LastTransitionTime { get; init; }

    /// <summary>Why, in one word.</summary>
    [Description("Why, in one word.")]
    public string Reason { get; init; } = "";

    /// <summary>Why, in a sentence.</summary>
    [Description("Why, in a sentence.")]
    public string? Message { get; init; }
}
