using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>The folder that stands in for a cluster's storage: logs of each attempt, volumes and ConfigMaps.</summary>
/// <remarks>
/// <c>{root}/{job}/uid</c>, <c>{root}/{job}/attempt-{n}/</c>, <c>{root}/volumes/{claim}/</c>,
/// <c>{root}/configmaps/{name}/{key}</c>. The last attempt's number is the largest of the folders.
/// </remarks>
/// <param name="root">The folder; need not exist.</param>
/// <param name="job">Name of the job.</param>
internal sealed class RunFolder(string root, string job)
{
    private const string AttemptPrefix = "attempt-";
    private readonly string _root = Path.GetFullPath(root);

    private string Job => Path.Combine(_root, job);

    private string UidFile => Path.Combine(Job, "uid");

    /// <summary>Folder of one attempt.</summary>
    public string Attempt(int number) =>
        Path.Combine(Job, string.Create(CultureInfo.InvariantCulture, $"{AttemptPrefix}{number}"));

    /// <summary>Folder that stands in for a PersistentVolumeClaim.</summary>
    public string Volume(string claim) => Path.Combine(_root, "volumes", claim);

    /// <summary>File that stands in for a key of a ConfigMap.</summary>
    public string ConfigMapKey(string name, string key) => Path.Combine(_root, "configmaps", name, key);

    /// <summary>Number of the last attempt; 0 when there was none.</summary>
    public int LastAttempt() => !Directory.Exists(Job) ? 0 : Directory.EnumerateDirectories(Job, AttemptPrefix + "*")
        .Select(folder => Path.GetFileName(folder)[AttemptPrefix.Length..])
        .Select(text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : 0)
        .DefaultIfEmpty(0).Max();

    /// <summary>Identity of the job in this folder; null before its first run.</summary>
    public string? Uid() => File.Exists(UidFile) ? File.ReadAllText(UidFile).Trim() : null;

    /// <summary>Takes the job's folder for this process and gives the job an identity.</summary>
    /// <returns>Gives the folder back.</returns>
    /// <exception cref="ConfigException">The folder cannot be written, or another launcher runs this job.</exception>
    public IDisposable Open()
    {
        try
        {
            Directory.CreateDirectory(Job);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(Job, [new ConfigError("--run-dir", $"the folder cannot be created: {e.Message}",
                "give a folder that can be written")]);
        }

        IDisposable taken = Take();
        if (string.IsNullOrEmpty(Uid()))
        {
            File.WriteAllText(UidFile, $"{Guid.NewGuid()}\n");
        }

        return taken;
    }

    private FileStream Take()
    {
        try
        {
            string file = Path.Combine(Job, "lock");
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(Job, [new ConfigError("metadata.name", $"the job {job} is running here already",
                "wait for its end, or give another --run-dir or name")]);
        }
    }

    /// <summary>A path as people like to read it: relative when below the current folder.</summary>
    public static string Show(string path)
    {
        string relative = Path.GetRelativePath(Environment.CurrentDirectory, path);
        return relative.StartsWith("..", StringComparison.Ordinal) ? path : relative;
    }
}
