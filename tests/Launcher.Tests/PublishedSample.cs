using System.Diagnostics;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>The program of samples/own-model, built from the packages of this repository as a user would.</summary>
public sealed class PublishedSample
{
    private static readonly string Output = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);

    public PublishedSample()
    {
        string packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set
            ? set : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        Succeed(Path.Combine(Root, "scripts", "pack.sh"), ["--no-build"], ("CONFIGURATION", Path.GetFileName(Output)));

        // The sample has a packages folder of its own; libtorch, half a gigabyte, is taken from where the tests have it.
        string[] publish = ["publish", Path.Combine(Root, "samples", "own-model"), "--configuration", "Release", "--nologo",
            "--output", Folder, "-warnaserror", "-nodeReuse:false", "-p:CreateHardLinksForPublishFilesIfPossible=true"];
        Succeed("dotnet", publish, ("NUGET_FALLBACK_PACKAGES", packages), ("NUGET_PACKAGES", null));
    }

    /// <summary>Top of the repository: this runs in artifacts/bin/Launcher.Tests/{configuration}.</summary>
    public static string Root { get; } = Path.GetFullPath(Path.Combine(Output, "..", "..", "..", ".."));

    /// <summary>Folder of the program.</summary>
    public static string Folder { get; } = Path.Combine(Root, "artifacts", "own-model");

    /// <summary>The program.</summary>
    public static string Program { get; } = Path.Combine(Folder, "own-model");

    /// <summary>Starts a program in a folder, with no place among ranks.</summary>
    internal static Process Start(
        string program, IEnumerable<string> args, string folder, params (string Name, string? Value)[] environment)
    {
        var start = new ProcessStartInfo(program, args)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string? value) in environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    private static void Succeed(string program, IEnumerable<string> args, params (string, string?)[] environment)
    {
        using Process process = Start(program, args, Root, environment);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string text = process.StandardOutput.ReadToEnd();
        Assert.True(process.WaitForExit(TimeSpan.FromMinutes(5)), $"{program} did not end; it printed:\n{text}");
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}:\n{text}\n{errors.Result}");
    }
}
