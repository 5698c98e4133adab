namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>Where the sources and the built assemblies are.</summary>
internal static class Repository
{
    // artifacts/bin/Architecture.Tests/{configuration}/
    private static readonly string Output = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);

    public static string Root { get; } = Path.GetFullPath(Path.Combine(Output, "..", "..", "..", ".."));

    public static IEnumerable<string> Projects => Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj",
        SearchOption.AllDirectories).Select(path => Path.GetFileNameWithoutExtension(path)).Order(StringComparer.Ordinal);

    public static string ProjectFile(string project) => Path.Combine(Root, "src", project, $"{project}.csproj");

    public static string Assembly(string project, string name) =>
        Path.GetFullPath(Path.Combine(Output, "..", "..", project, Path.GetFileName(Output), $"{name}.dll"));

    public static IEnumerable<(string Path, string[] Lines)> Sources(params string[] folder) =>
        Directory.EnumerateFiles(Path.Combine([Root, "src", .. folder]), "*.cs", SearchOption.AllDirectories)
            .Select(path => (Path.GetRelativePath(Root, path), File.ReadAllLines(path)));
}
