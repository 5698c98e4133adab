using k8s.Models;

namespace DeepSpeedSharp.Operator.Tests.Security;

/// <summary>Kubernetes' Pod Security Standards, level "restricted", for Linux pods: what a namespace that enforces it refuses.</summary>
internal static class RestrictedProfile
{
    public static IEnumerable<string> Problems(V1PodSpec pod)
    {
        if (pod.HostNetwork == true || pod.HostPID == true || pod.HostIPC == true)
        {
            yield return "a namespace of the machine";
        }

        foreach (V1Volume volume in pod.Volumes ?? [])
        {
            if (volume.ConfigMap is null && volume.Csi is null && volume.DownwardAPI is null && volume.EmptyDir is null && volume.Ephemeral is null
                && volume.PersistentVolumeClaim is null && volume.Projected is null && volume.Secret is null)
            {
                yield return $"volume {volume.Name} of another type";
            }
        }

        foreach (V1Container container in (pod.InitContainers ?? []).Concat(pod.Containers))
        {
            foreach (string problem in Problems(pod, container))
            {
                yield return $"container {container.Name}: {problem}";
            }
        }
    }

    private static IEnumerable<string> Problems(V1PodSpec pod, V1Container container)
    {
        V1SecurityContext? own = container.SecurityContext;
        if (own?.Privileged == true || own?.AllowPrivilegeEscalation != false)
        {
            yield return "privileges";
        }

        if ((own?.RunAsNonRoot ?? pod.SecurityContext?.RunAsNonRoot) != true || (own?.RunAsUser ?? pod.SecurityContext?.RunAsUser) == 0)
        {
            yield return "root";
        }

        if ((own?.SeccompProfile ?? pod.SecurityContext?.SeccompProfile)?.Type is not ("RuntimeDefault" or "Localhost"))
        {
            yield return "no seccomp profile";
        }

        if (own?.Capabilities?.Drop?.Contains("ALL") != true || (own.Capabilities.Add ?? []).Any(c => c != "NET_BIND_SERVICE"))
        {
            yield return "capabilities";
        }

        if ((container.Ports ?? []).Any(p => p.HostPort is not null) || own?.ProcMount is not (null or "Default"))
        {
            yield return "host port or proc mount";
        }
    }
}
