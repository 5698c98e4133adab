using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Jobs;

/// <summary>Where pods run.</summary>
public sealed record SchedulingSpec
{
    /// <summary>Who places all pods together or none.</summary>
    /// <remarks>No default in the schema: an administrator may choose another one than None.</remarks>
    [Description("Who places all pods together or none. None: nobody; pods are placed one by one. Volcano or Coscheduling: that scheduler, by a PodGroup for each start. Kueue: its queue lets all pods start when the job's whole quota is free. Default: the operator's, usually None; Kueue when the job has the label kueue.x-k8s.io/queue-name. Can be changed only while the job is suspended.")]
    [OneOf("None", "Volcano", "Coscheduling", "Native", "Kueue", NotYet = ["Native"])]
    public string? Gang { get; init; }

    /// <summary>Queue of the gang scheduler.</summary>
    [Description("Queue of Volcano (its own default when left out) or LocalQueue of Kueue (required, here or by the label kueue.x-k8s.io/queue-name of the job). Can be changed only while the job is suspended.")]
    [MaxLength(63)]
    public string? Queue { get; init; }

    /// <summary>Pods that must fit at once.</summary>
    [Description("Pods that must find a place at once, for Volcano and Coscheduling. Default: all of them; of an elastic job, elastic.minNodes.")]
    [Range(1, 10_000)]
    public int? MinAvailable { get; init; }

    /// <summary>How long placed pods hold their place for the others.</summary>
    [Description("Seconds that Coscheduling lets placed pods hold their place for the others before it gives all places back. Default: the scheduler's own, usually 60.")]
    [Range(1, 86_400)]
    public int? ScheduleTimeoutSeconds { get; init; }

    /// <summary>Scheduler of the pods.</summary>
    [Description("Name of the scheduler of the pods. Default: volcano with gang Volcano, scheduler-plugins-scheduler with gang Coscheduling, else the cluster's own.")]
    [MaxLength(253)]
    public string? SchedulerName { get; init; }

    /// <summary>Keeps the pods of an attempt near each other.</summary>
    [Description("Keeps the pods of an attempt in one part of the cluster, such as a rack.")]
    public TopologySpec? Topology { get; init; }

    /// <summary>At most one pod of the job on a machine.</summary>
    [Description("Whether no two pods of an attempt may share a machine. Default false.")]
    public bool? ExclusivePerNode { get; init; }

    /// <summary>Protects running pods from drains.</summary>
    [Description("Whether a PodDisruptionBudget keeps drains from ending a pod of the running job. Blocks upgrades of its machines until the job ends. Default false.")]
    public bool? PodDisruptionBudget { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>The part of a cluster that all pods of an attempt share.</summary>
[Rule("has(self.required) != has(self.preferred)", "give exactly one of required and preferred")]
public sealed record TopologySpec
{
    /// <summary>A label of machines that must be equal.</summary>
    [Description("Label of machines, for example topology.kubernetes.io/zone: all pods of an attempt run where it has one value, or not at all.")]
    [MaxLength(317)]
    public string? Required { get; init; }

    /// <summary>A label of machines that should be equal.</summary>
    [Description("Label of machines: pods of an attempt run where it has one value when there is room.")]
    [MaxLength(317)]
    public string? Preferred { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>How pods talk to each other.</summary>
public sealed record NetworkSpec
{
    /// <summary>Port where rank 0 listens.</summary>
    [Description("Port where rank 0 listens. Default 29500.")]
    [Range(1, 65_535)]
    [Default(29500)]
    public int? Port { get; init; }

    /// <summary>Whether pods use the network of their machine.</summary>
    [Description("Whether pods use the network of their machine, as some RDMA set-ups need. Only when the operator's administrator allows host access. Default false.")]
    public bool? HostNetwork { get; init; }

    /// <summary>Network interface of collectives.</summary>
    [Description("Network interface of collectives, for example eth0: NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME.")]
    [MaxLength(63)]
    public string? Interface { get; init; }

    /// <summary>Whether only the job's own pods may connect.</summary>
    [Description("Whether a NetworkPolicy lets only the job's own pods connect, and anybody to the metrics port. Default false.")]
    public bool? Policy { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>Shared memory of a pod's processes.</summary>
public sealed record SharedMemorySpec
{
    /// <summary>Whether /dev/shm is a memory volume.</summary>
    [Description("Whether /dev/shm is a volume in memory; without it containers have 64 MiB. Default true.")]
    [Default(true)]
    public bool? Enabled { get; init; }

    /// <summary>Its largest size.</summary>
    [Description("Largest size of /dev/shm, for example 32Gi; it counts against the container's memory. Default: half of the memory limit, or no limit without one.")]
    public Quantity? SizeLimit { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>How the operator learns where training stands.</summary>
public sealed record ProgressSpec
{
    /// <summary>Who asks whom.</summary>
    [Description("Pull, the default: the operator asks /progress at the metrics port. None: it does not ask, for programs that have no such page.")]
    [OneOf("Pull", "Push", "None", NotYet = ["Push"])]
    [Default("Pull")]
    public string? Mode { get; init; }

    /// <summary>Time between two questions.</summary>
    [Description("Seconds between two questions. Default: the operator's own interval, usually 5.")]
    [Range(1, 3600)]
    public int? IntervalSeconds { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}
