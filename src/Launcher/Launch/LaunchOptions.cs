namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The words of <c>deepspeed [options] program [args]</c>, read but not yet judged.</summary>
internal sealed record LaunchOptions
{
    /// <summary>The hostfile's path.</summary>
    public string Hostfile { get; init; } = Launch.Hostfile.DefaultPath;

    /// <summary>What to use of the resources; empty for all.</summary>
    public string Include { get; init; } = "";

    /// <summary>What not to use of them.</summary>
    public string Exclude { get; init; } = "";

    /// <summary>How many hosts to use; null for all.</summary>
    public int? Nodes { get; init; }

    /// <summary>How many slots of each host to use; null for all, 0 for ranks without GPU.</summary>
    public int? Gpus { get; init; }

    /// <summary>Whether the number of nodes may change while training runs.</summary>
    public bool ElasticTraining { get; init; }

    /// <summary>Least number of nodes of elastic training.</summary>
    public int? MinElasticNodes { get; init; }

    /// <summary>Largest number of nodes of elastic training.</summary>
    public int? MaxElasticNodes { get; init; }

    /// <summary>How many failures elastic training survives; null for the default.</summary>
    public int? MaxElasticRestarts { get; init; }

    /// <summary>Address of rank 0; empty to find it.</summary>
    public string MasterAddress { get; init; } = "";

    /// <summary>Port of rank 0.</summary>
    public int MasterPort { get; init; } = 29500;

    /// <summary>Which node this is, where each node runs the command itself.</summary>
    public int? NodeRank { get; init; }

    /// <summary>How to reach the other nodes; null to choose.</summary>
    public Backend? Backend { get; init; }

    /// <summary>More arguments for the backend's own program.</summary>
    public string BackendArguments { get; init; } = "";

    /// <summary>Whether the program is the name of a Python module.</summary>
    public bool IsModule { get; init; }

    /// <summary>Whether the program is started as it is, whatever its name ends with.</summary>
    public bool NoPython { get; init; }

    /// <summary>Whether the program does without <c>--local_rank=N</c>.</summary>
    public bool NoLocalRank { get; init; }

    /// <summary>Whether every node runs the command itself.</summary>
    public bool NoSsh { get; init; }

    /// <summary>Whether the first host is taken to be reachable.</summary>
    public bool NoSshCheck { get; init; }

    /// <summary>Whether a single node is started like many.</summary>
    public bool ForceMulti { get; init; }

    /// <summary>Whether to leave a file with the process id in the temporary folder.</summary>
    public bool SavePid { get; init; }

    /// <summary>Folder for one log file of each rank; null for none.</summary>
    public string? RankLogFolder { get; init; }

    /// <summary>Value of <c>--autotuning</c>.</summary>
    public string Autotuning { get; init; } = "";

    /// <summary>Whether each rank gets cores of its own.</summary>
    public bool BindCores { get; init; }

    /// <summary>Cores to divide among the ranks; null for all.</summary>
    public string? CoreList { get; init; }

    /// <summary>Port of ssh; null for its own default.</summary>
    public int? SshPort { get; init; }

    /// <summary>Shell script to read on each node before the program starts.</summary>
    public string? VenvScript { get; init; }

    /// <summary>How much the launcher says.</summary>
    public Verbosity Verbosity { get; init; } = Verbosity.Info;

    /// <summary>Whether to print the plan instead of starting it.</summary>
    public bool DryRun { get; init; }

    /// <summary>Whether the plan is printed as JSON.</summary>
    public bool Json { get; init; }

    /// <summary>For the launcher of one node: the whole world's slots.</summary>
    public string? WorldInfo { get; init; }

    /// <summary>For the launcher of one node: whether the end of its input means that the front end is gone.</summary>
    public bool HasLifeline { get; init; }

    /// <summary>For the launcher of one node: whether its ranks see no GPU.</summary>
    public bool CpuRanks { get; init; }

    /// <summary>The user's program.</summary>
    public string Program { get; init; } = "";

    /// <summary>Its arguments.</summary>
    public IReadOnlyList<string> ProgramArguments { get; init; } = [];
}

/// <summary>How much the launcher itself says; what ranks print is always shown.</summary>
internal enum Verbosity
{
    /// <summary>Failures only.</summary>
    Quiet,

    /// <summary>The run's course.</summary>
    Info,

    /// <summary>Also every command line.</summary>
    Debug,
}

/// <summary>How the ranks of other nodes are started.</summary>
internal enum Backend
{
    /// <summary>One pdsh for all hosts.</summary>
    Pdsh,

    /// <summary>One ssh for each host.</summary>
    Ssh,

    /// <summary>Open MPI's mpirun.</summary>
    OpenMpi,

    /// <summary>MPICH's mpirun.</summary>
    Mpich,

    /// <summary>Intel MPI's mpirun.</summary>
    Impi,

    /// <summary>Slurm's srun.</summary>
    Slurm,

    /// <summary>MVAPICH's mpirun.</summary>
    Mvapich,
}
