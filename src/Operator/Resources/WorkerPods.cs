using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>The pods of an attempt: plan in, objects out.</summary>
internal static class WorkerPods
{
    /// <summary>Name of the container that trains.</summary>
    public const string ContainerName = "trainer";

    /// <summary>Seconds a pod stays on a machine that does not answer.</summary>
    public const int NodeLossSeconds = 60;

    private const string CheckpointVolume = "checkpoints";

    /// <summary>Name of a pod, which is also its short host name.</summary>
    public static string Name(string job, int attempt, int index) =>
        string.Create(CultureInfo.InvariantCulture, $"{job}-{attempt}-{index}");

    /// <summary>Host name of a pod within its namespace.</summary>
    public static string HostName(string job, int attempt, int index) => $"{Name(job, attempt, index)}.{job}";

    /// <summary>Where an attempt's nodes and files are.</summary>
    public static JobPlacement Placement(JobOwner job, DeepSpeedJobSpec spec, int attempt) => new(
        index => HostName(job.Name, attempt, index),
        JobDefaults.MasterPort,
        spec.Config is null && spec.ConfigRef is null ? null : $"{AttemptConfigMap.MountPath}/{AttemptConfigMap.ConfigKey}",
        $"{AttemptConfigMap.MountPath}/{AttemptConfigMap.HostfileKey}",
        spec.Checkpoint is { } checkpoint ? $"{MountPath(checkpoint).TrimEnd('/')}/{checkpoint.SubPathFor(job.Name)}" : null,
        _ => spec.MetricsPort());

    /// <summary>Builds the pod of one node.</summary>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its valid spec.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="node">The node's part of the plan.</param>
    public static V1Pod Build(JobOwner job, DeepSpeedJobSpec spec, int attempt, NodePlan node)
    {
        string name = Name(job.Name, attempt, node.Index);
        V1ObjectMeta metadata = JobMetadata.Owned(job, name, attempt);
        metadata.Labels[JobLabels.NodeRank] = node.Index.ToString(CultureInfo.InvariantCulture);
        metadata.Annotations = Annotations(spec);
        return new V1Pod
        {
            ApiVersion = "v1",
            Kind = "Pod",
            Metadata = metadata,
            Spec = new V1PodSpec
            {
                Hostname = name,
                Subdomain = job.Name,

                // All ranks restart together or not at all; the operator decides.
                RestartPolicy = "Never",
                TerminationGracePeriodSeconds = spec.GracePeriodSeconds(),
                EnableServiceLinks = false,
                AutomountServiceAccountToken = false,
                SecurityContext = new V1PodSecurityContext
                {
                    RunAsNonRoot = true,
                    RunAsUser = 1000,
                    RunAsGroup = 1000,
                    FsGroup = 1000,
                    FsGroupChangePolicy = "OnRootMismatch",
                    SeccompProfile = new V1SeccompProfile { Type = "RuntimeDefault" },
                },
                Tolerations =
                [
                    Tolerate("node.kubernetes.io/not-ready"),
                    Tolerate("node.kubernetes.io/unreachable"),
                ],
                Containers = [Container(spec, node)],
                Volumes = [.. Volumes(job, spec, attempt)],
            },
        };
    }

    private static V1Container Container(DeepSpeedJobSpec spec, NodePlan node) => new()
    {
        Name = ContainerName,
        Image = spec.Image,
        Command = spec.Command is { Count: > 0 } command ? [.. command] : null,
        Args = spec.Args is { Count: > 0 } args ? [.. args] : null,
        Env = [.. PodEnvironment.Of(spec, node)],
        Ports =
        [
            new V1ContainerPort { Name = "master", ContainerPort = JobDefaults.MasterPort, Protocol = "TCP" },
            new V1ContainerPort { Name = "metrics", ContainerPort = spec.MetricsPort(), Protocol = "TCP" },
        ],
        Resources = PodResources.Of(spec),
        TerminationMessagePath = "/dev/termination-log",
        TerminationMessagePolicy = "FallbackToLogsOnError",
        SecurityContext = new V1SecurityContext
        {
            AllowPrivilegeEscalation = false,
            Capabilities = new V1Capabilities { Drop = ["ALL"] },
        },
        VolumeMounts = [.. Mounts(spec)],
    };

    private static Dictionary<string, string> Annotations(DeepSpeedJobSpec spec)
    {
        var annotations = new Dictionary<string, string> { ["kubectl.kubernetes.io/default-container"] = ContainerName };
        if (spec.Metrics?.PodAnnotations ?? true)
        {
            annotations["prometheus.io/scrape"] = "true";
            annotations["prometheus.io/port"] = spec.MetricsPort().ToString(CultureInfo.InvariantCulture);
            annotations["prometheus.io/path"] = spec.MetricsPath();
        }

        return annotations;
    }

    private static V1Toleration Tolerate(string key) => new()
    {
        Key = key,
        OperatorProperty = "Exists",
        Effect = "NoExecute",
        TolerationSeconds = NodeLossSeconds,
    };

    private static IEnumerable<V1VolumeMount> Mounts(DeepSpeedJobSpec spec)
    {
        yield return new V1VolumeMount { Name = "config", MountPath = AttemptConfigMap.MountPath, ReadOnlyProperty = true };
        yield return new V1VolumeMount { Name = "shm", MountPath = "/dev/shm" };
        yield return new V1VolumeMount { Name = "tmp", MountPath = "/tmp" };
        if (spec.Checkpoint is { } checkpoint)
        {
            yield return new V1VolumeMount { Name = CheckpointVolume, MountPath = MountPath(checkpoint) };
        }
    }

    private static IEnumerable<V1Volume> Volumes(JobOwner job, DeepSpeedJobSpec spec, int attempt)
    {
        yield return new V1Volume
        {
            Name = "config",
            ConfigMap = new V1ConfigMapVolumeSource { Name = AttemptConfigMap.Name(job.Name, attempt) },
        };

        // Collectives between processes of one pod need more than the container runtime's 64 MiB.
        yield return new V1Volume { Name = "shm", EmptyDir = new V1EmptyDirVolumeSource { Medium = "Memory" } };
        yield return new V1Volume { Name = "tmp", EmptyDir = new V1EmptyDirVolumeSource() };
        if (spec.Checkpoint is { } checkpoint)
        {
            yield return new V1Volume
            {
                Name = CheckpointVolume,
                PersistentVolumeClaim = new V1PersistentVolumeClaimVolumeSource { ClaimName = checkpoint.ClaimFor(job.Name) },
            };
        }
    }

    private static string MountPath(CheckpointSpec checkpoint) => checkpoint.MountPath ?? "/checkpoints";
}
