using DeepSpeedSharp.Config;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Finds what in a pod template reaches out of the pod: into its machine, past the scheduler, or past the kernel's
/// protections.</summary>
/// <remarks>
/// The rules are those of Kubernetes' Pod Security Standards, level "baseline", as this operator makes pods with its own
/// rights: whoever may make jobs, but no pods, must not get more through it. Beyond them IPC_LOCK is allowed, which RDMA needs.
/// The template is looked at as the types that it becomes, so that no spelling gets past.
/// </remarks>
internal static class HostAccess
{
    private const string Path = "spec.template.spec";

    // Level "baseline", and IPC_LOCK: it locks memory that the pod's own limit counts.
    private static readonly HashSet<string> Capabilities =
    [
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
        "SETPCAP", "SETUID", "SYS_CHROOT", "IPC_LOCK",
    ];

    private static readonly HashSet<string> Sysctls =
    [
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    ];

    private static readonly HashSet<string> SecurityLabels = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

    // How protections were switched off before they were fields.
    private static readonly string[] OldProtections =
        ["container.apparmor.security.beta.kubernetes.io/", "seccomp.security.alpha.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/"];

    /// <summary>Adds one problem for each way out.</summary>
    /// <param name="template">The user's template.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void Check(V1PodTemplateSpec template, ConfigErrors errors)
    {
        foreach (string name in (template.Metadata?.Annotations?.Keys ?? []).Where(k => OldProtections.Any(p => k.StartsWith(p, StringComparison.Ordinal))))
        {
            Refuse($"spec.template.metadata.annotations.{name}", errors);
        }

        if (template.Spec is { } pod)
        {
            CheckPod(pod, errors);
        }
    }

    /// <summary>Adds the problem of one way out.</summary>
    /// <param name="path">The field.</param>
    /// <param name="errors">Receives it.</param>
    public static void Refuse(string path, ConfigErrors errors) => errors.Add(path,
        "it reaches into the machine, which this operator's administrator does not allow",
        "remove it, or have the operator started with --allow-host-access (chart: controller.allowHostAccess)");

    private static void CheckPod(V1PodSpec pod, ConfigErrors errors)
    {
        RefuseIf(pod.HostPID == true, "hostPID", errors);
        RefuseIf(pod.HostIPC == true, "hostIPC", errors);

        // A pod that names its machine passes by the scheduler, taints and queues.
        RefuseIf(pod.NodeName is not null, "nodeName", errors);
        V1PodSecurityContext? security = pod.SecurityContext;
        RefuseIf(IsUnconfined(security?.SeccompProfile?.Type), "securityContext.seccompProfile", errors);
        RefuseIf(IsUnconfined(security?.AppArmorProfile?.Type), "securityContext.appArmorProfile", errors);
        RefuseIf(IsForeign(security?.SeLinuxOptions), "securityContext.seLinuxOptions", errors);
        RefuseIf(security?.WindowsOptions?.HostProcess == true, "securityContext.windowsOptions.hostProcess", errors);
        foreach (V1Sysctl sysctl in (security?.Sysctls ?? []).Where(s => !Sysctls.Contains(s.Name)))
        {
            Refuse($"{Path}.securityContext.sysctls[{sysctl.Name}]", errors);
        }

        foreach (V1Volume volume in pod.Volumes ?? [])
        {
            RefuseIf(volume.HostPath is not null, $"volumes[{volume.Name}].hostPath", errors);
            RefuseIf(volume.FlexVolume is not null, $"volumes[{volume.Name}].flexVolume", errors);
            RefuseIf(volume.GitRepo is not null, $"volumes[{volume.Name}].gitRepo", errors);
        }

        foreach ((string list, IList<V1Container>? containers) in new[] { ("containers", pod.Containers), ("initContainers", pod.InitContainers) })
        {
            foreach (V1Container container in containers ?? [])
            {
                CheckContainer(container, $"{list}[{container.Name}]", errors);
            }
        }
    }

    private static void CheckContainer(V1Container container, string at, ConfigErrors errors)
    {
        V1SecurityContext? security = container.SecurityContext;
        RefuseIf(security?.Privileged == true, $"{at}.securityContext.privileged", errors);
        RefuseIf(security?.ProcMount is { } mount && mount != "Default", $"{at}.securityContext.procMount", errors);
        RefuseIf(IsUnconfined(security?.SeccompProfile?.Type), $"{at}.securityContext.seccompProfile", errors);
        RefuseIf(IsUnconfined(security?.AppArmorProfile?.Type), $"{at}.securityContext.appArmorProfile", errors);
        RefuseIf(IsForeign(security?.SeLinuxOptions), $"{at}.securityContext.seLinuxOptions", errors);
        RefuseIf(security?.WindowsOptions?.HostProcess == true, $"{at}.securityContext.windowsOptions.hostProcess", errors);
        foreach (string capability in (security?.Capabilities?.Add ?? []).Where(c => !Capabilities.Contains(c)))
        {
            Refuse($"{Path}.{at}.securityContext.capabilities.add[{capability}]", errors);
        }

        RefuseIf((container.Ports ?? []).Any(p => p.HostPort is not (null or 0)), $"{at}.ports", errors);
        RefuseIf((container.Ports ?? []).Any(p => !string.IsNullOrEmpty(p.HostIP)), $"{at}.ports", errors);

        // kubelet makes these connections from the machine, to wherever they say.
        (string Name, V1HTTPGetAction? Http, V1TCPSocketAction? Tcp)[] handlers =
        [
            ("livenessProbe", container.LivenessProbe?.HttpGet, container.LivenessProbe?.TcpSocket),
            ("readinessProbe", container.ReadinessProbe?.HttpGet, container.ReadinessProbe?.TcpSocket),
            ("startupProbe", container.StartupProbe?.HttpGet, container.StartupProbe?.TcpSocket),
            ("lifecycle.postStart", container.Lifecycle?.PostStart?.HttpGet, container.Lifecycle?.PostStart?.TcpSocket),
            ("lifecycle.preStop", container.Lifecycle?.PreStop?.HttpGet, container.Lifecycle?.PreStop?.TcpSocket),
        ];
        foreach ((string name, V1HTTPGetAction? http, V1TCPSocketAction? tcp) in handlers)
        {
            RefuseIf(!string.IsNullOrEmpty(http?.Host) || !string.IsNullOrEmpty(tcp?.Host), $"{at}.{name}.host", errors);
        }
    }

    private static bool IsUnconfined(string? profile) => profile == "Unconfined";

    private static bool IsForeign(V1SELinuxOptions? options) => options is not null
        && (!SecurityLabels.Contains(options.Type ?? "") || !string.IsNullOrEmpty(options.User) || !string.IsNullOrEmpty(options.Role));

    private static void RefuseIf(bool reaches, string field, ConfigErrors errors)
    {
        if (reaches)
        {
            Refuse($"{Path}.{field}", errors);
        }
    }
}
