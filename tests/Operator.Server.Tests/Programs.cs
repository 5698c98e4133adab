namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>The programs of a control plane on this machine.</summary>
internal static class Programs
{
    /// <summary>The folder with kube-apiserver: the user's, or the one that tests/cluster/install.sh fills. Without one, or without
    /// etcd, the test is skipped and says so.</summary>
    public static string OrSkip()
    {
        string cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } folder ? folder
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        string? programs = new[] { Environment.GetEnvironmentVariable("KUBEBUILDER_ASSETS"), Path.Combine(cache, "deepspeedsharp", "kubernetes-1.20.2", "bin") }
            .FirstOrDefault(p => p is { Length: > 0 } && File.Exists(Path.Combine(p, "kube-apiserver")));
        bool hasEtcd = programs is not null
            && $"{programs}:{Environment.GetEnvironmentVariable("PATH")}".Split(':').Any(p => File.Exists(Path.Combine(p, "etcd")));
        Assert.SkipUnless(hasEtcd, "no etcd or no kube-apiserver: set KUBEBUILDER_ASSETS, or run tests/cluster/install.sh");
        return programs!;
    }
}
