using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;
using DeepSpeedSharp.Operator.Runtime;
using k8s;
using k8s.Exceptions;
using k8s.KubeConfigModels;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>A connection to the API server, found by kubectl's rules.</summary>
/// <param name="Api">Requests to it.</param>
/// <param name="Server">Its address, for messages.</param>
/// <param name="Namespace">The namespace to work in.</param>
/// <param name="IsNamespaceGiven">Whether the user named it, and not only the kubeconfig.</param>
internal sealed record ClusterConnection(ApiConnection Api, string Server, string Namespace, bool IsNamespaceGiven)
{
    private const string Variable = "KUBECONFIG";

    /// <summary>Reads the kubeconfig; asks the server nothing yet.</summary>
    /// <param name="kubeconfig">Path of a kubeconfig; null to look for one.</param>
    /// <param name="context">Name of a context; null for the current one.</param>
    /// <param name="ns">The namespace; null for that of the context.</param>
    /// <exception cref="ConfigException">There is no kubeconfig, or it does not say how to reach a cluster.</exception>
    public static ClusterConnection Open(string? kubeconfig, string? context, string? ns)
    {
        KubernetesClientConfiguration config = Read(kubeconfig, context);

        // A log that is followed may be silent for hours; each other request has a limit of its own.
        config.HttpClientTimeout = Timeout.InfiniteTimeSpan;
        var client = new Kubernetes(config);
        return new ClusterConnection(new ApiConnection(client, TimeProvider.System), config.Host,
            ns ?? (string.IsNullOrEmpty(config.Namespace) ? "default" : config.Namespace), ns is not null);
    }

    private static KubernetesClientConfiguration Read(string? kubeconfig, string? context)
    {
        List<string> files = Files(kubeconfig);
        string subject = files.Count == 0 ? "the pod's own account" : string.Join(" and ", files);
        try
        {
            if (files.Count == 0)
            {
                return KubernetesClientConfiguration.InClusterConfig();
            }

            return KubernetesClientConfiguration.BuildConfigFromConfigObject(
                Merge([.. files.Select(file => KubernetesClientConfiguration.LoadKubeConfig(new FileInfo(file)))]), context);
        }
        catch (Exception e) when (e is KubeConfigException or IOException or UnauthorizedAccessException
            or YamlDotNet.Core.YamlException or FormatException or System.Security.Cryptography.CryptographicException)
        {
            throw Refusal.Of(subject, context is null ? "kubeconfig" : $"--context {context}", e.Message,
                "compare with `kubectl config get-contexts`, or give --kubeconfig FILE");
        }
    }

    // kubectl's rule: what a file says first holds.
    private static K8SConfiguration Merge(K8SConfiguration[] files) => files.Length == 1 ? files[0] : new()
    {
        CurrentContext = files.Select(file => file.CurrentContext).FirstOrDefault(name => !string.IsNullOrEmpty(name)),
        Contexts = [.. files.SelectMany(file => file.Contexts ?? []).DistinctBy(context => context.Name)],
        Clusters = [.. files.SelectMany(file => file.Clusters ?? []).DistinctBy(cluster => cluster.Name)],
        Users = [.. files.SelectMany(file => file.Users ?? []).DistinctBy(user => user.Name)],
    };

    private static List<string> Files(string? kubeconfig)
    {
        string home = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".kube", "config");
        if (kubeconfig is not null)
        {
            return File.Exists(kubeconfig) ? [kubeconfig] : throw Refusal.Option("--kubeconfig", $"there is no file {kubeconfig}", "correct the path");
        }

        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } list)
        {
            // kubectl skips those that are not there, too.
            List<string> files = [.. list.Split(':', StringSplitOptions.RemoveEmptyEntries).Where(File.Exists)];
            return files.Count > 0 ? files : throw Refusal.Of("the environment", Variable, $"none of its files exists: {list}", "correct or unset it");
        }

        return File.Exists(home) ? [home] : KubernetesClientConfiguration.IsInCluster() ? []
            : throw Refusal.Of("the cluster", "kubeconfig", $"there is none: {Variable} is not set, and there is no {home}",
                "give --kubeconfig FILE");
    }
}
