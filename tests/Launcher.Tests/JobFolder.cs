namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>A temporary folder with a manifest whose worker is a shell script.</summary>
internal sealed class JobFolder : IDisposable
{
    public const string Manifest = "job.yaml";

    public string Path { get; } = Directory.CreateTempSubdirectory("deepspeed-test-").FullName;

    /// <summary>Writes the manifest of a job "tiny".</summary>
    /// <param name="script">What each node runs; <c>$</c> is the shell's.</param>
    /// <param name="spec">More lines of the spec.</param>
    public JobFolder WithJob(string script, string spec = "")
    {
        string indented = string.Concat(script.ReplaceLineEndings("\n").Split('\n').Select(line => $"      {line}\n"));
        Write(Manifest, $"""
            apiVersion: deepspeedsharp.dev/v1alpha1
            kind: DeepSpeedJob
            metadata:
              name: tiny
            spec:
            {string.Concat(spec.ReplaceLineEndings("\n").Split('\n').Select(line => $"  {line}\n"))}
              command: ["sh", "-c"]
              args:
                - |
            {indented}
            """);
        return this;
    }

    public string Write(string name, string text)
    {
        string path = Of(name);
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    /// <summary>Writes a script that can be executed.</summary>
    public void Executable(string name, string text)
    {
        string path = Write(name, text.ReplaceLineEndings("\n"));
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    public string Of(params string[] names) => System.IO.Path.Combine([Path, .. names]);

    public string Read(params string[] names) => File.ReadAllText(Of(names));

    public Task<(int ExitCode, string Text)> RunAsync(params string[] options) =>
        LauncherProcess.RunAsync(Path, ["run", Manifest, .. options]);

    public LauncherProcess Start() => LauncherProcess.Start(Path, "run", Manifest);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
