using System.Globalization;
using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>An internal mode of this program: learns from MPI or Slurm which rank it is, then becomes the user's program.</summary>
internal static class MpiRank
{
    /// <summary>First argument that selects this mode.</summary>
    public const string Mode = "exec-mpi-rank";

    /// <summary>The variables that tell a rank its place; the other ones of a plan, MPI and Slurm have of their own.</summary>
    public static IReadOnlyList<string> Names { get; } =
        ["MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE"];

    /// <summary>The variables of the rank.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <exception cref="ConfigException">Nothing that starts ranks has left its variables here.</exception>
    public static IReadOnlyList<KeyValuePair<string, string>> Variables(Func<string, string?> read)
    {
        RankPlacement place = RankPlacement.Find(read)
            ?? throw Refusal.Of("the environment", "RANK", "neither MPI nor Slurm says which rank this is; looked for "
                + string.Join(", ", RankPlacement.RankVariables), "start the program through deepspeed --launcher NAME");
        List<KeyValuePair<string, string>> variables =
        [
            new("RANK", Text(place.Rank)), new("WORLD_SIZE", Text(place.WorldSize)), new("LOCAL_RANK", Text(place.LocalRank)),
        ];
        if (place.LocalWorldSize is { } local)
        {
            variables.AddRange([new("LOCAL_SIZE", Text(local)), new("LOCAL_WORLD_SIZE", Text(local))]);
        }

        return variables;
    }

    /// <summary>Becomes the program of the arguments.</summary>
    /// <returns>An exit code, only when it could not be started.</returns>
    public static int Run(string[] commandLine)
    {
        foreach ((string name, string value) in Variables(Environment.GetEnvironmentVariable))
        {
            Libc.SetVariable(name, value, replace: 1);
        }

        string program = commandLine[0].Contains('/', StringComparison.Ordinal) || File.Exists(commandLine[0])
            ? Path.GetFullPath(commandLine[0])
            : InstalledProgram.Find(commandLine[0], Environment.GetEnvironmentVariable("PATH")) ?? commandLine[0];
        Libc.ResetSignal(Libc.BrokenPipe);

        // A daemon of MPI or Slurm that is killed leaves its ranks behind.
        Libc.SignalAtDeathOfParent(Libc.Terminate);
        Libc.Execute(program, [.. commandLine, null]);
        string reason = Marshal.GetLastPInvokeErrorMessage();
        Console.Error.WriteLine($"deepspeed: {program} cannot be started on {Environment.MachineName}: {reason}");
        return ChildExec.CannotExecute;
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
