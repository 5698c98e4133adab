namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The variables that ranks on other hosts get from this one.</summary>
internal static class Exports
{
    // DeepSpeed's own list, and .NET's settings.
    private static readonly string[] Prefixes = ["NCCL", "PYTHON", "MLFLOW", "MV2", "UCX", "DOTNET"];
    private static readonly string[] SetByTheCluster = ["NCCL_IB_HCA", "UCX_NET_DEVICES"];

    /// <summary>Chooses them.</summary>
    /// <param name="environment">This program's environment.</param>
    /// <param name="workingFolder">Goes in front of PYTHONPATH, so that a script finds the modules beside it.</param>
    /// <param name="files">Variables of the environment files; they win.</param>
    public static IReadOnlyList<KeyValuePair<string, string>> ForOtherHosts(IReadOnlyDictionary<string, string> environment,
        string workingFolder, IEnumerable<KeyValuePair<string, string>> files)
    {
        bool isManaged = environment.ContainsKey("AISC_JOB_NAME");
        var chosen = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach ((string name, string value) in environment)
        {
            if (EnvironmentFile.IsName(name) && Prefixes.Any(p => name.StartsWith(p, StringComparison.Ordinal))
                && !(isManaged && SetByTheCluster.Contains(name)))
            {
                chosen[name] = value;
            }
        }

        string? path = environment.GetValueOrDefault("PYTHONPATH");
        chosen["PYTHONPATH"] = string.IsNullOrEmpty(path) ? workingFolder : $"{workingFolder}:{path}";
        foreach ((string name, string value) in files)
        {
            chosen[name] = value;
        }

        return [.. chosen];
    }
}
