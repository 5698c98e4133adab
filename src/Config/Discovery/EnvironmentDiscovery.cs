using System.Globalization;

namespace DeepSpeedSharp.Config;

/// <summary>Completes the environment of a rank that MPI or Slurm started, on a cluster, on AzureML or on SageMaker
/// (<c>auto_mpi_discovery</c>).</summary>
/// <remarks>As in DeepSpeed, MPI only places the ranks. No MPI library is needed: what <c>mpirun</c> and <c>srun</c> leave in the
/// environment is enough. A pure function of that environment.</remarks>
public static class EnvironmentDiscovery
{
    // DeepSpeed's defaults, here and on AzureML with one and with several nodes.
    private const string DefaultPort = "29500", AzureSinglePort = "54965", AzurePort = "6105";

    private static readonly string[] Needed = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"];

    /// <summary>The variables that are missing and can be known.</summary>
    /// <param name="read">Gives the value of a variable, or null; usually <see cref="Environment.GetEnvironmentVariable(string)"/>.</param>
    /// <returns>Names and values to add to the environment; empty when all that is needed is there, or when neither MPI nor Slurm
    /// started this process.</returns>
    /// <exception cref="ConfigException">A rank was placed, but something is missing that nobody says, or what is set contradicts
    /// what the starter says.</exception>
    public static IReadOnlyDictionary<string, string> Variables(Func<string, string?> read)
    {
        var found = new Dictionary<string, string>();
        if (Needed.All(name => IsSet(read, name)))
        {
            return found;
        }

        if (RankPlacement.Find(read) is not { } place)
        {
            // What is set by hand decides; Read names what is missing of it.
            if (RankPlacement.Incomplete(read) is { } variable && !Needed.Any(name => IsSet(read, name)))
            {
                throw Problem(variable, "it says a rank, but nothing says how many ranks there are, or which of its host's this one is",
                    "set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT");
            }

            return found;
        }

        var errors = new ConfigErrors();
        Add("RANK", Text(place.Rank));
        Add("WORLD_SIZE", Text(place.WorldSize));
        Add("LOCAL_RANK", Text(place.LocalRank));
        if (place.LocalWorldSize is { } local)
        {
            Add("LOCAL_WORLD_SIZE", Text(local));
        }

        AddNodes(read, place, found);
        errors.ThrowIfAny("the environment of this process");
        if (!IsSet(read, "MASTER_ADDR") || !IsSet(read, "MASTER_PORT"))
        {
            AddMaster(read, place, found);
        }

        return found;

        void Add(string name, string value)
        {
            if (!IsSet(read, name))
            {
                found[name] = value;
            }
            else if (read(name) != value)
            {
                errors.Add(name, $"it is {read(name)}, but by {place.Starter} it would be {value}",
                    "unset it, or set all of " + string.Join(", ", Needed));
            }
        }
    }

    /// <summary>Which start of which job the starter says this is; null when it does not. Tells two jobs on one port apart.</summary>
    /// <param name="read">As above.</param>
    internal static string? RunId(Func<string, string?> read) =>
        read("PMIX_NAMESPACE") is { Length: > 0 } job ? job
        : read("OMPI_MCA_ess_base_jobid") is { Length: > 0 } old ? old
        : read(SlurmLists.StepTasks) is not null && read("SLURM_JOB_ID") is { Length: > 0 } slurm ? $"{slurm}.{read("SLURM_STEP_ID")}"
        : null;

    private static void AddMaster(Func<string, string?> read, RankPlacement place, Dictionary<string, string> found)
    {
        bool isAlone = place.LocalWorldSize == place.WorldSize;
        if (IsSet(read, "AZUREML_EXPERIMENT_ID") && !IsSet(read, "DLTS_JOB_ID"))
        {
            string variable = isAlone ? "AZ_BATCHAI_MPI_MASTER_NODE" : "AZ_BATCH_MASTER_NODE";
            string address = read(variable) is { Length: > 0 } text ? text.Split(':')[0]
                : throw Problem(variable, "AzureML has not set it, and rank 0 cannot be found without it", "set MASTER_ADDR");
            Master(address, isAlone ? AzureSinglePort : AzurePort);
            if (!IsSet(read, "NCCL_SOCKET_IFNAME"))
            {
                found["NCCL_SOCKET_IFNAME"] = "^docker0,lo";
            }

            return;
        }

        if (IsSet(read, "SM_TRAINING_ENV"))
        {
            string missing = IsSet(read, "MASTER_ADDR") ? "MASTER_PORT" : "MASTER_ADDR";
            throw Problem(missing, "it is not set, and on SageMaker the training job has to give it",
                "set MASTER_ADDR to the first of SM_HOSTS, and MASTER_PORT");
        }

        string? master = IsSet(read, "MASTER_ADDR") ? read("MASTER_ADDR") : isAlone ? "127.0.0.1" : SlurmHost(read) ?? OpenMpiHost(read);
        Master(master ?? throw Problem("MASTER_ADDR", $"it is not set, {place.Starter} placed the ranks on several hosts, and does not "
            + "say which host rank 0 is on", "give it to every rank (mpirun -x MASTER_ADDR=HOST, or -genv MASTER_ADDR HOST), or start "
            + "with deepspeed --launcher"), DefaultPort);

        void Master(string address, string port)
        {
            if (!IsSet(read, "MASTER_ADDR"))
            {
                found["MASTER_ADDR"] = address;
            }

            if (!IsSet(read, "MASTER_PORT"))
            {
                found["MASTER_PORT"] = port;
            }
        }
    }

    // Tasks are laid out from the first host on.
    private static string? SlurmHost(Func<string, string?> read) =>
        (read("SLURM_STEP_NODELIST") ?? read("SLURM_JOB_NODELIST")) is { } list && read(SlurmLists.StepTasks) is not null
            ? SlurmLists.FirstHost(list) : null;

    // "1234.0;tcp://10.0.0.5,192.168.0.5:40001": where mpirun itself runs, which is where rank 0 runs unless the hosts were chosen
    // otherwise.
    private static string? OpenMpiHost(Func<string, string?> read)
    {
        const string Scheme = "tcp://";
        if ((read("OMPI_MCA_orte_hnp_uri") ?? read("PRTE_MCA_prte_hnp_uri")) is not { } uri
            || uri.IndexOf(Scheme, StringComparison.Ordinal) is not (>= 0 and var at))
        {
            return null;
        }

        string addresses = uri[(at + Scheme.Length)..].Split(';')[0];
        int port = addresses.LastIndexOf(':');
        string first = (port < 0 ? addresses : addresses[..port]).Split(',')[0];
        return first.Length > 0 ? first : null;
    }

    private static void AddNodes(Func<string, string?> read, RankPlacement place, Dictionary<string, string> found)
    {
        (string? nodes, string? node) = place.LocalWorldSize == place.WorldSize ? ("1", "0")
            : place.Starter == "Slurm" ? (read("SLURM_STEP_NUM_NODES") ?? read("SLURM_NNODES"), read("SLURM_NODEID")) : (null, null);
        if (nodes is not null && node is not null && !IsSet(read, "NNODES") && !IsSet(read, "NODE_RANK"))
        {
            (found["NNODES"], found["NODE_RANK"]) = (nodes, node);
        }
    }

    private static bool IsSet(Func<string, string?> read, string name) => !string.IsNullOrEmpty(read(name));

    private static ConfigException Problem(string variable, string problem, string fix) =>
        new("the environment of this process", [new ConfigError(variable, problem, fix)]);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
