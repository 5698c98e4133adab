using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>An internal mode of this program: learns from MPI or Slurm which rank it is, then becomes the user's program.</summary>
internal static class MpiRank
{
    /// <summary>First argument that selects this mode.</summary>
    public const string Mode = "exec-mpi-rank";

    // Rank, size, local rank, local size; of Open MPI, MVAPICH, Intel MPI and MPICH, Slurm.
    private static readonly string[][] Names =
    [
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
        ["MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"],
        ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
        ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"],
    ];

    /// <summary>The variables of the rank.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <exception cref="ConfigException">Nothing that starts ranks has left its variables here.</exception>
    public static IReadOnlyList<KeyValuePair<string, string>> Variables(Func<string, string?> read)
    {
        if (Names.FirstOrDefault(set => set.All(name => int.TryParse(read(name), out int _))) is not { } found)
        {
            throw Refusal.Of("the environment", "RANK", "neither MPI nor Slurm says which rank this is; looked for "
                + string.Join(", ", Names.Select(set => set[0])), "start the program through deepspeed --launcher NAME");
        }

        string[] targets = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE"];
        List<KeyValuePair<string, string>> variables = [.. targets.Zip(found, (to, from) => KeyValuePair.Create(to, read(from)!))];
        variables.Add(new("LOCAL_WORLD_SIZE", read(found[3])!));
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
}
