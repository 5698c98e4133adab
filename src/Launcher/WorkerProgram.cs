using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>Finds the program that trains, where the manifest has no command of its own.</summary>
internal static class WorkerProgram
{
    /// <summary>Name of the worker's program.</summary>
    public const string Name = "deepspeed-worker";

    /// <summary>Environment variable that names the worker.</summary>
    public const string Variable = "DSJ_WORKER";

    /// <summary>Finds the worker.</summary>
    /// <param name="option">The path of <c>--worker</c>, or null.</param>
    /// <param name="variable">The value of <see cref="Variable"/>, or null.</param>
    /// <param name="launcherFolder">Folder of this program.</param>
    /// <returns>Full path of the program.</returns>
    /// <exception cref="ConfigException">There is none; the message lists where it was looked for.</exception>
    public static string Find(string? option, string? variable, string launcherFolder)
    {
        if (option is not null)
        {
            return Existing(option, "--worker");
        }

        if (!string.IsNullOrEmpty(variable))
        {
            return Existing(variable, Variable);
        }

        // The second is the layout of a source tree: artifacts/bin/{project}/{configuration}/.
        string folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(launcherFolder));
        string[] places =
        [
            Path.Combine(folder, Name),
            Path.GetFullPath(Path.Combine(folder, "..", "..", "WorkerImage", Path.GetFileName(folder), Name)),
        ];
        return places.FirstOrDefault(IsProgram) ?? throw new ConfigException(Name, [new ConfigError("--worker",
            $"there is no worker program; looked at {string.Join(" and ", places)}",
            $"give --worker PATH, set {Variable}, or give the manifest a spec.command")]);
    }

    /// <summary>Finds the program of <c>spec.command</c>, as a shell would.</summary>
    /// <param name="name">A path, or a name to look up.</param>
    /// <param name="searchPath">Folders separated by colons (<c>PATH</c> of the worker).</param>
    /// <returns>Full path of the program.</returns>
    /// <exception cref="ConfigException">There is no such program.</exception>
    public static string Resolve(string name, string? searchPath)
    {
        if (name.Contains('/'))
        {
            return Existing(name, "spec.command[0]");
        }

        string[] folders = (searchPath ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        return folders.Select(folder => Path.GetFullPath(Path.Combine(folder, name))).FirstOrDefault(IsProgram)
            ?? throw new ConfigException("the manifest", [new ConfigError("spec.command[0]",
                $"there is no program {name} in PATH ({searchPath})", "install it, or give its path")]);
    }

    private static string Existing(string path, string source)
    {
        string full = Path.GetFullPath(path);
        return IsProgram(full) ? full : throw new ConfigException(path, [new ConfigError(source,
            File.Exists(full) ? $"{full} is not executable" : $"there is no file {full}",
            File.Exists(full) ? $"run: chmod +x {full}" : "correct the path")]);
    }

    private static bool IsProgram(string path) => File.Exists(path) && Libc.CanExecute(path);
}
