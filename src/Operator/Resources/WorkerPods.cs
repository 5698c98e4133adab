using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources.Gang;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>The pods of an attempt: plan in, objects out.</summary>
internal static class WorkerPods
{
    /// <summary>Name of the container that trains.</summary>
    public const string ContainerName = "trainer";

    private const string CheckpointVolume = "checkpoints";

    /// <summary>Name of a pod, which is also its short host name.</summary>
    public static string Name(string job, int attempt, int index) =>
        string.Create(CultureInfo.InvariantCulture, $"{job}-{attempt}-{index}");

    /// <summary>Whether a pod has that name; makes no text for it.</summary>
    public static bool IsName(string name, string job, int attempt, int index)
    {
        Span<char> buffer = stackalloc char[name.Length];
        return buffer.TryWrite(CultureInfo.InvariantCulture, $"{job}-{attempt}-{index}", out int written)
            && buffer[..written].SequenceEqual(name);
    }

    /// <summary>Host name of a pod within its namespace.</summary>
    public static string HostName(string job, int attempt, int index) => $"{Name(job, attempt, index)}.{job}";

    /// <summary>Where an attempt's nodes and files are.</summary>
    public static JobPlacement Placement(JobOwner job, DeepSpeedJobSpec spec, int attempt) => new(
        index => HostName(job.Name, attempt, index),
        spec.Port(),
        spec.Config is null && spec.ConfigRef is null ? null : $"{AttemptConfigMap.MountPath}/{AttemptConfigMap.ConfigKey}",
        $"{AttemptConfigMap.MountPath}/{AttemptConfigMap.HostfileKey}",
        spec.Checkpoint is { } checkpoint ? $"{MountPath(checkpoint).TrimEnd('/')}/{checkpoint.SubPathFor(job.Name)}" : null,
        _ => spec.MetricsPort());

    /// <summary>Builds the pod of one node.</summary>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its valid spec.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="node">The node's part of the plan.</param>
    /// <param name="avoided">Machines to stay off.</param>
    /// <param name="group">Group of the gang scheduler; null without one.</param>
    public static V1Pod Build(JobOwner job, DeepSpeedJobSpec spec, int attempt, NodePlan node, IReadOnlyList<string>? avoided = null,
        string? group = null)
    {
        V1Pod pod = PodTemplate.Over(Plain(job, spec, attempt, node), spec.Template, [.. PodEnvironment.OfJob(node)]);
        PodPlacement.Apply(pod, job, spec, attempt, avoided ?? []);
        if (group is not null && spec.Gang() == GangScheduler.Kueue)
        {
            KueueGroup.Join(pod, group, spec.Scheduling!.Queue!, node.Index, spec.Pods());
        }
        else if (group is not null)
        {
            PodGroups.Join(pod, spec.Gang(), group);
        }

        return pod;
    }

    /// <summary>A pod like those of an attempt, to know what each of them requests.</summary>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its valid spec.</param>
    /// <param name="attempt">The attempt.</param>
    public static V1Pod AnyOf(JobOwner job, DeepSpeedJobSpec spec, int attempt)
    {
        DeepSpeedJobSpec one = spec with { NumNodes = 1, Elastic = null };
        var plan = JobPlan.From(one, new JobIdentity(job.Name, job.Namespace, job.Uid, attempt, 0), Placement(job, one, attempt));
        return Build(job, one, attempt, plan.Nodes[0]);
    }

    private static V1Pod Plain(JobOwner job, DeepSpeedJobSpec spec, int attempt, NodePlan node)
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
                SchedulerName = spec.SchedulerName(),
                HostNetwork = spec.Network?.HostNetwork == true ? true : null,
                DnsPolicy = spec.Network?.HostNetwork == true ? "ClusterFirstWithHostNet" : null,

                // These launchers do not pass signals on when they are process 1; the pod's own pause process then is it.
                ShareProcessNamespace = spec.Mode() is LaunchMode.Torchrun or LaunchMode.DeepSpeed ? true : null,
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
                    Tolerate("node.kubernetes.io/not-ready", spec),
                    Tolerate("node.kubernetes.io/unreachable", spec),
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
            new V1ContainerPort { Name = "master", ContainerPort = spec.Port(), Protocol = "TCP" },
            new V1ContainerPort { Name = "metrics", ContainerPort = spec.MetricsPort(), Protocol = "TCP" },
        ],
        Resources = PodResources.Of(spec),
        TerminationMessagePath = "/dev/termination-log",
        TerminationMessagePolicy = "FallbackToLogsOnError",
        SecurityContext = new V1SecurityContext
        {
            AllowPrivilegeEscalation = false,
            Capabilities = new V1Capabilities { Drop = ["ALL"] },

            // Programs on our images write to /tmp, /dev/shm and the checkpoints; other images may need more.
            ReadOnlyRootFilesystem = spec.Mode() is LaunchMode.Worker or LaunchMode.PerGpu ? true : null,
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

    private static V1Toleration Tolerate(string key, DeepSpeedJobSpec spec) => new()
    {
        Key = key,
        OperatorProperty = "Exists",
        Effect = "NoExecute",
        TolerationSeconds = (long)spec.NodeLoss().TotalSeconds,
    };

    private static IEnumerable<V1VolumeMount> Mounts(DeepSpeedJobSpec spec)
    {
        yield return new V1VolumeMount { Name = "config", MountPath = AttemptConfigMap.MountPath, ReadOnlyProperty = true };
        if (HostfileAtJob(spec))
        {
            yield return new V1VolumeMount
            {
                Name = "config",
                MountPath = "/job/hostfile",
                SubPath = AttemptConfigMap.HostfileKey,
                ReadOnlyProperty = true,
            };
        }

        if (RendezvousSecret.IsUsed(spec))
        {
            yield return RendezvousSecret.Mount();
        }

        if (HasSharedMemory(spec))
        {
            yield return new V1VolumeMount { Name = "shm", MountPath = "/dev/shm" };
        }

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

        if (RendezvousSecret.IsUsed(spec))
        {
            yield return RendezvousSecret.Volume(job, attempt);
        }

        // Collectives between processes of one pod need more than the container runtime's 64 MiB.
        if (HasSharedMemory(spec))
        {
            yield return new V1Volume
            {
                Name = "shm",
                EmptyDir = new V1EmptyDirVolumeSource { Medium = "Memory", SizeLimit = PodResources.SharedMemory(spec) },
            };
        }

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

    // Where DeepSpeed's launcher looks by itself. With one node a hostfile there would make it try ssh.
    private static bool HostfileAtJob(DeepSpeedJobSpec spec) => spec.Mode() == LaunchMode.DeepSpeed && spec.Pods() > 1;

    private static bool HasSharedMemory(DeepSpeedJobSpec spec) => spec.Shm?.Enabled ?? true;

    private static string MountPath(CheckpointSpec checkpoint) => checkpoint.MountPath ?? "/checkpoints";
}
