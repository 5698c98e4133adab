using System.Globalization;

namespace DeepSpeedSharp.Config;

/// <summary>Which rank a process is, by the variables that MPI or Slurm has left in its environment.</summary>
/// <param name="Starter">Who started the ranks, as "Open MPI".</param>
/// <param name="Rank">Index of the process over all hosts.</param>
/// <param name="WorldSize">Number of processes over all hosts.</param>
/// <param name="LocalRank">Index of the process on its host.</param>
/// <param name="LocalWorldSize">Number of processes on its host; null when nobody says.</param>
public sealed record RankPlacement(string Starter, int Rank, int WorldSize, int LocalRank, int? LocalWorldSize)
{
    private sealed record Source(string Starter, string Rank, string[] Size, string[] LocalRank, string[] LocalSize);

    // The order matters: mpirun inside a Slurm allocation starts its daemons with srun, whose variables the ranks inherit,
    // and srun with PMI-2 sets PMI_RANK without a local rank. PMIx has no variable for the size.
    private static readonly Source[] Sources =
    [
        new("Open MPI", "OMPI_COMM_WORLD_RANK", ["OMPI_COMM_WORLD_SIZE"], ["OMPI_COMM_WORLD_LOCAL_RANK"], ["OMPI_COMM_WORLD_LOCAL_SIZE"]),
        new("MVAPICH2", "MV2_COMM_WORLD_RANK", ["MV2_COMM_WORLD_SIZE"], ["MV2_COMM_WORLD_LOCAL_RANK"], ["MV2_COMM_WORLD_LOCAL_SIZE"]),
        new("MVAPICH", "MVP_COMM_WORLD_RANK", ["MVP_COMM_WORLD_SIZE"], ["MVP_COMM_WORLD_LOCAL_RANK"], ["MVP_COMM_WORLD_LOCAL_SIZE"]),
        new("PMI (MPICH, Intel MPI)", "PMI_RANK", ["PMI_SIZE"], ["MPI_LOCALRANKID", "PALS_LOCAL_RANKID"], ["MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"]),
        new("Slurm", "SLURM_PROCID", [SlurmLists.StepTasks], ["SLURM_LOCALID"], []),
        new("PMIx", "PMIX_RANK", ["WORLD_SIZE", "PMI_SIZE"], ["LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID"], ["LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"]),
    ];

    /// <summary>Names of the variables that tell a rank, for messages.</summary>
    public static IReadOnlyList<string> RankVariables { get; } = [.. Sources.Select(source => source.Rank)];

    /// <summary>Finds the place of this process.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <returns>Null when neither MPI nor Slurm started it, or not all of rank, size and local rank are known.</returns>
    /// <remarks>Only <c>srun</c> makes ranks: in a batch script or a shell of an allocation there is none.</remarks>
    public static RankPlacement? Find(Func<string, string?> read)
    {
        foreach (Source source in Sources)
        {
            if (Number(read, source.Rank) is { } rank && First(read, source.Size) is > 0 and { } size && rank < size
                && (First(read, source.LocalRank) ?? (size == 1 ? 0 : null)) is { } localRank)
            {
                int? localSize = source.Starter == "Slurm" ? SlurmLists.LocalTasks(read) : First(read, source.LocalSize);
                return new RankPlacement(source.Starter, rank, size, localRank, localSize ?? (size == 1 ? 1 : null));
            }
        }

        return null;
    }

    /// <summary>A variable that says a rank, where <see cref="Find"/> finds no place: something is missing beside it.</summary>
    internal static string? Incomplete(Func<string, string?> read) => Sources
        .Where(source => Number(read, source.Rank) is not null && (source.Starter != "Slurm" || read(SlurmLists.StepTasks) is not null))
        .Select(source => source.Rank).FirstOrDefault();

    private static int? First(Func<string, string?> read, string[] names) =>
        names.Select(name => Number(read, name)).FirstOrDefault(number => number is not null);

    private static int? Number(Func<string, string?> read, string name) =>
        int.TryParse(read(name), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
}
