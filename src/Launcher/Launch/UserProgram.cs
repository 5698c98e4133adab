using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>How to start the user's program.</summary>
/// <param name="Interpreter">What comes in front of it; empty for a program of its own.</param>
/// <param name="TakesLocalRank">Whether it gets <c>--local_rank=N</c> as its first argument.</param>
internal sealed record UserProgram(IReadOnlyList<string> Interpreter, bool TakesLocalRank)
{
    /// <summary>The interpreter of Python scripts; that of a virtual environment when one is active.</summary>
    public const string Python = "python3";

    /// <summary>Decides by the options, then by the end of the name.</summary>
    /// <remarks>Python scripts get <c>--local_rank</c>, as DeepSpeed gives it. A .NET assembly or a program found by its
    /// name does not: it reads LOCAL_RANK, and most would refuse an option they do not know.</remarks>
    public static UserProgram Of(LaunchOptions options)
    {
        bool localRank = !options.NoLocalRank;
        return (options.NoPython, options.IsModule, Path.GetExtension(options.Program).ToLowerInvariant()) switch
        {
            (true, _, _) => new([], localRank),
            (_, true, _) => new([Python, "-u", "-m"], localRank),
            (_, _, ".py") => new([Python, "-u"], localRank),
            (_, _, ".dll") => new(["dotnet"], TakesLocalRank: false),
            _ => new([], TakesLocalRank: false),
        };
    }

    /// <summary>The command line of one rank, without core binding.</summary>
    public IReadOnlyList<string> CommandLine(LaunchOptions options, int localRank) =>
    [
        .. Interpreter, options.Program, .. TakesLocalRank ? [$"--local_rank={localRank}"] : (string[])[], .. options.ProgramArguments,
    ];

    /// <summary>Finds the file to execute, and checks that the script or assembly is there.</summary>
    /// <param name="options">The options.</param>
    /// <param name="searchPath">Value of PATH.</param>
    /// <param name="commands">Commands of this program, which the user may have misspelt.</param>
    /// <exception cref="UsageException">Something is not there.</exception>
    public string Locate(LaunchOptions options, string? searchPath, IEnumerable<string> commands)
    {
        string program = options.Program;
        if (Interpreter.Count > 0)
        {
            return !options.IsModule && !File.Exists(program) ? throw new UsageException([Missing(program)])
                : Search(Interpreter[0], searchPath) ?? throw new UsageException(
                    [$"{program} needs {Interpreter[0]}, which is not in PATH; install it, or add its folder to PATH"]);
        }

        string full = Path.GetFullPath(program);
        if (File.Exists(full) && (program.Contains('/', StringComparison.Ordinal) || Libc.CanExecute(full)))
        {
            return Libc.CanExecute(full) ? full
                : throw new UsageException([$"{program} is not executable; run: chmod +x {program}"]);
        }

        return (program.Contains('/', StringComparison.Ordinal) ? null : Search(program, searchPath))
            ?? throw new UsageException([File.Exists(full) ? $"{program} is not executable; run: chmod +x {program}" : NearestName.Find(program, commands) is { } near
                && !program.Contains('.', StringComparison.Ordinal)
                ? $"there is no program {program}; did you mean {near}?" : Missing(program)]);
    }

    private static string Missing(string program) => $"there is no program {program} on {Environment.MachineName}; "
        + $"correct its path (the working folder is {Environment.CurrentDirectory})";

    private static string? Search(string name, string? searchPath) => InstalledProgram.Find(name, searchPath);
}

/// <summary>Programs that this machine has.</summary>
internal static class InstalledProgram
{
    /// <summary>Full path of a program, looked up in PATH as a shell does; null when there is none.</summary>
    public static string? Find(string name, string? searchPath) => (searchPath ?? "")
        .Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.GetFullPath(Path.Combine(folder, name)))
        .FirstOrDefault(path => File.Exists(path) && Libc.CanExecute(path));
}
