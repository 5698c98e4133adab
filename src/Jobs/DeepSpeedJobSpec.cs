using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Jobs;

/// <summary>What a DeepSpeedJob asks for: <c>spec</c> of the manifest.</summary>
/// <remarks>The same record is read by the operator from the cluster and by the launcher from a file.</remarks>
[Rule("!(has(self.config) && has(self.configRef))", "give at most one of config and configRef")]
[Rule("!has(self.elastic) || self.elastic.minNodes <= self.elastic.maxNodes", "elastic.minNodes must not be greater than elastic.maxNodes")]
[Rule("has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy)", "managedBy cannot be changed")]
[Rule(GangRules.MayChange + " || (has(self.scheduling) && has(self.scheduling.gang) ? self.scheduling.gang : '') == (has(oldSelf.scheduling) && has(oldSelf.scheduling.gang) ? oldSelf.scheduling.gang : '')", "scheduling.gang can be changed only while the job is suspended")]
[Rule(GangRules.MayChange + " || (has(self.scheduling) && has(self.scheduling.queue) ? self.scheduling.queue : '') == (has(oldSelf.scheduling) && has(oldSelf.scheduling.queue) ? oldSelf.scheduling.queue : '')", "scheduling.queue can be changed only while the job is suspended")]
public sealed record DeepSpeedJobSpec
{
    /// <summary>Container image of the worker.</summary>
    [Description("Container image of the worker. Required on a cluster, here or for the container trainer of template; ignored by `deepspeed run`, which starts the worker of this machine.")]
    public string? Image { get; init; }

    /// <summary>Replaces the image's entry point.</summary>
    [Description("Replaces the entry point of the image.")]
    [MaxItems(1024)]
    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>Arguments of the program.</summary>
    [Description("Arguments of the program, for example [\"train\", \"--data=/data/tokens.bin\"]. $(NAME) is replaced by an environment variable.")]
    [MaxItems(1024)]
    public IReadOnlyList<string>? Args { get; init; }

    /// <summary>Environment variables of every rank.</summary>
    [Description("Environment variables of every rank. Names that place a rank, such as RANK or MASTER_ADDR, belong to the job and are refused.")]
    [ListMapKey("name")]
    [MaxItems(1000)]
    public IReadOnlyList<EnvVar>? Env { get; init; }

    /// <summary>Number of worker pods.</summary>
    [Description("Number of nodes: worker pods, each with gpusPerNode ranks. Default 1. With elastic, the wanted number. An edit of a running job applies when it starts again; with elastic it starts again for that.")]
    [Range(1, 10_000)]
    [Default(1)]
    public int? NumNodes { get; init; }

    /// <summary>GPUs, and so ranks, of each pod; 0 is one CPU rank.</summary>
    [Description("GPUs of each pod, which is also its number of ranks (DeepSpeed's slots). 0, the default, runs one rank on the CPU.")]
    [Range(0, 64)]
    [Default(0)]
    public int? GpusPerNode { get; init; }

    /// <summary>Resource name of the GPUs.</summary>
    [Description("Resource name of the GPUs, for example amd.com/gpu. Default nvidia.com/gpu.")]
    [MaxLength(253)]
    public string? GpuResource { get; init; }

    /// <summary>How ranks are started in a pod.</summary>
    [Description("How ranks are started. Worker, the default: the image starts one process per GPU itself, as our worker does. PerGpu: one pod per GPU, for programs that start no processes. Torchrun: the command is torchrun. DeepSpeed: the command is deepspeed or deepspeed.launcher.launch.")]
    [OneOf("Worker", "PerGpu", "Torchrun", "DeepSpeed")]
    public string? Launcher { get; init; }

    /// <summary>Requests and limits of the worker's container.</summary>
    [Description("Requests and limits of the worker's container. GPUs are added from gpusPerNode.")]
    public ResourceRequirements? Resources { get; init; }

    /// <summary>The DeepSpeed config, inline and verbatim.</summary>
    [Description("The DeepSpeed JSON config, inline. Kept verbatim; mounted as /etc/deepspeed/ds_config.json and named by DSJ_CONFIG. At most one of config and configRef.")]
    [PreserveUnknownFields]
    public JsonObject? Config { get; init; }

    /// <summary>The DeepSpeed config, in a ConfigMap.</summary>
    [Description("Names a ConfigMap of the same namespace that holds the DeepSpeed JSON config. At most one of config and configRef.")]
    public ConfigReference? ConfigRef { get; init; }

    /// <summary>Where checkpoints live.</summary>
    [Description("Where checkpoints live. Without it the job keeps none, and a restart begins anew.")]
    public CheckpointSpec? Checkpoint { get; init; }

    /// <summary>What happens when a rank fails.</summary>
    [Description("What happens when a rank fails: all pods are replaced, and training resumes from the last checkpoint.")]
    public RestartSpec? Restart { get; init; }

    /// <summary>Ends all pods and keeps the job.</summary>
    [Description("true ends all pods, after a checkpoint, and keeps the job; false lets it go on. Default false.")]
    public bool? Suspend { get; init; }

    /// <summary>Which controller looks after the job.</summary>
    [Description("Which controller looks after the job, as a domain and a path. This operator leaves a job alone that names another one than deepspeedsharp.dev/controller. Cannot be changed.")]
    [MaxLength(63)]
    [Pattern(@"^([^/]*\.[^/]*/[^/]+)?$")]
    public string? ManagedBy { get; init; }

    /// <summary>What is laid over the pods.</summary>
    [Description("A PodTemplateSpec that is laid over the worker pods: labels, annotations, node selector, tolerations, affinity, volumes, sidecars and so on. The container that trains is called trainer. See docs/kubernetes.md for what belongs to the job.")]
    [PreserveUnknownFields]
    public JsonObject? Template { get; init; }

    /// <summary>Lets the number of nodes change.</summary>
    [Description("Lets the number of nodes change between minNodes and maxNodes: fewer when some find no place, more when numNodes asks for them. The config must fit each size that is used.")]
    public ElasticSpec? Elastic { get; init; }

    /// <summary>Longest time a job may be active.</summary>
    [Description("Seconds after its first start, or the last time it was resumed, after which the job fails with DeadlineExceeded.")]
    [Range(1, int.MaxValue)]
    public int? ActiveDeadlineSeconds { get; init; }

    /// <summary>Longest time until all pods are ready.</summary>
    [Description("Seconds that the pods of a start get until all of them are ready. After that the job fails with StartupDeadlineExceeded and gives its resources back.")]
    [Range(1, int.MaxValue)]
    public int? StartupDeadlineSeconds { get; init; }

    /// <summary>Longest time without an optimizer step.</summary>
    [Description("Seconds without a new optimizer step after which the job counts as hung and starts again; the rank that hangs is named. Needs progress.mode Pull and a program that serves /progress.")]
    [Range(5, int.MaxValue)]
    public int? ProgressDeadlineSeconds { get; init; }

    /// <summary>When a finished job is deleted.</summary>
    [Description("Seconds after its end at which the job and all its objects are deleted. Never when left out.")]
    [Range(0, int.MaxValue)]
    public int? TtlSecondsAfterFinished { get; init; }

    /// <summary>Which pods go when the job ends.</summary>
    [Description("Which pods are deleted when the job ends: Running, the default, All or None.")]
    [OneOf("Running", "All", "None")]
    [Default("Running")]
    public string? CleanPodPolicy { get; init; }

    /// <summary>Failed pods of earlier attempts that stay.</summary>
    [Description("How many pods that failed first in an earlier attempt stay for a look at their logs. Default 1.")]
    [Range(0, 5)]
    [Default(1)]
    public int? KeepFailedPods { get; init; }

    /// <summary>When the job is complete.</summary>
    [Description("When the job is complete: AllNodes, the default, when every node succeeded; Rank0 when node 0 did, and the others are ended.")]
    [OneOf("AllNodes", "Rank0")]
    [Default("AllNodes")]
    public string? SuccessPolicy { get; init; }

    /// <summary>What the operator is told about the model.</summary>
    [Description("What the operator is told about the model, for the estimate of memory in the status. Nothing else depends on it.")]
    public ModelSpec? Model { get; init; }

    /// <summary>Where pods run.</summary>
    [Description("Where pods run.")]
    public SchedulingSpec? Scheduling { get; init; }

    /// <summary>How pods talk to each other.</summary>
    [Description("How pods talk to each other.")]
    public NetworkSpec? Network { get; init; }

    /// <summary>Shared memory of a pod's processes.</summary>
    [Description("Shared memory of the processes of a pod, at /dev/shm.")]
    public SharedMemorySpec? Shm { get; init; }

    /// <summary>How the operator learns where training stands.</summary>
    [Description("How the operator learns where training stands.")]
    public ProgressSpec? Progress { get; init; }

    /// <summary>Prometheus metrics of the worker.</summary>
    [Description("Prometheus metrics of the worker.")]
    public MetricsSpec? Metrics { get; init; }

    /// <summary>Fields this type does not know; validation refuses each by name.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>One environment variable, as in a pod.</summary>
public sealed record EnvVar
{
    /// <summary>Name of the variable.</summary>
    [Description("Name of the variable.")]
    public string Name { get; init; } = "";

    /// <summary>Its value.</summary>
    [Description("Value; $(NAME) is replaced by a variable defined before.")]
    public string? Value { get; init; }

    /// <summary>Where the value comes from, as in a pod.</summary>
    [Description("Source of the value, as in a pod: fieldRef, resourceFieldRef, configMapKeyRef or secretKeyRef. Only on a cluster.")]
    [PreserveUnknownFields]
    public JsonObject? ValueFrom { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>Requests and limits of a container.</summary>
[PlannedFields("claims")]
public sealed record ResourceRequirements
{
    /// <summary>Largest amounts, by resource name.</summary>
    [Description("Largest amounts of each resource, for example cpu: \"8\" and memory: 64Gi.")]
    public IReadOnlyDictionary<string, Quantity>? Limits { get; init; }

    /// <summary>Amounts the scheduler sets aside, by resource name.</summary>
    [Description("Amounts of each resource that the scheduler sets aside.")]
    public IReadOnlyDictionary<string, Quantity>? Requests { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>A ConfigMap that holds a DeepSpeed config.</summary>
public sealed record ConfigReference
{
    /// <summary>Name of the ConfigMap.</summary>
    [Description("Name of the ConfigMap, in the job's namespace.")]
    public string Name { get; init; } = "";

    /// <summary>Key in the ConfigMap.</summary>
    [Description("Key in the ConfigMap. Default ds_config.json.")]
    public string? Key { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>Where checkpoints live.</summary>
[Rule("has(self.claimName) != has(self.volumeClaimTemplate)", "give exactly one of claimName and volumeClaimTemplate")]
public sealed record CheckpointSpec
{
    /// <summary>An existing PersistentVolumeClaim.</summary>
    [Description("Name of an existing PersistentVolumeClaim. Exactly one of claimName and volumeClaimTemplate.")]
    public string? ClaimName { get; init; }

    /// <summary>A PersistentVolumeClaim to create.</summary>
    [Description("A PersistentVolumeClaim that the operator creates as {job}-checkpoints. It outlives the job unless retain is Delete. Exactly one of claimName and volumeClaimTemplate.")]
    public VolumeClaimTemplate? VolumeClaimTemplate { get; init; }

    /// <summary>Where the volume appears in the container.</summary>
    [Description("Where the volume appears in the container. Default /checkpoints.")]
    public string? MountPath { get; init; }

    /// <summary>Folder of this job on the volume.</summary>
    [Description("Folder of this job on the volume. Default: the name of the job.")]
    public string? SubPath { get; init; }

    /// <summary>Whether the created claim outlives the job.</summary>
    [Description("Whether the claim made from volumeClaimTemplate outlives the job: Retain, the default, or Delete. A claim of claimName is never deleted.")]
    [OneOf("Retain", "Delete")]
    [Default("Retain")]
    public string? Retain { get; init; }

    /// <summary>Time to save a last checkpoint when the pod is ended.</summary>
    [Description("Seconds a pod gets to save a last checkpoint when it is ended. Default 120.")]
    [Range(1, 86_400)]
    public int? GracePeriodSeconds { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>A PersistentVolumeClaim to create for the job.</summary>
public sealed record VolumeClaimTemplate
{
    /// <summary>Labels and annotations of the claim.</summary>
    [Description("Labels and annotations of the claim, for example for backups or quotas.")]
    public ClaimMetadata? Metadata { get; init; }

    /// <summary>The claim's spec, as in Kubernetes.</summary>
    [Description("Spec of the PersistentVolumeClaim, as in Kubernetes: accessModes, storageClassName, resources.requests.storage.")]
    [PreserveUnknownFields]
    public JsonObject? Spec { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>Labels and annotations of a claim that is created for the job.</summary>
public sealed record ClaimMetadata
{
    /// <summary>Labels of the claim.</summary>
    [Description("Labels of the claim. Those of deepspeedsharp.dev/ and app.kubernetes.io/ belong to the job.")]
    public IReadOnlyDictionary<string, string>? Labels { get; init; }

    /// <summary>Annotations of the claim.</summary>
    [Description("Annotations of the claim.")]
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>Prometheus metrics of the worker.</summary>
public sealed record MetricsSpec
{
    /// <summary>Port of the endpoint.</summary>
    [Description("Port of the metrics endpoint. Default 9400.")]
    [Range(1, 65_535)]
    public int? Port { get; init; }

    /// <summary>Path of the endpoint.</summary>
    [Description("Path of the metrics endpoint. Default /metrics.")]
    public string? Path { get; init; }

    /// <summary>Whether pods carry the prometheus.io annotations.</summary>
    [Description("Whether pods carry the annotations prometheus.io/scrape, /port and /path. Default true.")]
    public bool? PodAnnotations { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}
