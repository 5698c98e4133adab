using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The rules of <c>--elastic_training</c>: how many hosts it may use, and how often it starts again.</summary>
/// <param name="MinNodes">Fewest hosts.</param>
/// <param name="MaxNodes">Most hosts.</param>
/// <param name="Section">The config's elasticity section, which allows only some numbers of ranks; null allows all.</param>
/// <param name="Restarts">How often.</param>
internal sealed record Elasticity(int MinNodes, int MaxNodes, ElasticityConfig? Section, Restarts Restarts)
{
    // DeepSpeed's number.
    private const int DefaultRestarts = 100;
    private static readonly string[] ConfigOptions = ["--deepspeed_config", "--deepspeed-config", "--deepspeed"];
    private readonly string _run = Guid.NewGuid().ToString("N");

    /// <summary>The rules of a command line; null when training is not elastic.</summary>
    /// <param name="options">The options.</param>
    /// <param name="console">Where restarts are reported.</param>
    /// <exception cref="ConfigException">The options contradict each other, or the training's config has problems.</exception>
    public static Elasticity? From(LaunchOptions options, RunConsole console)
    {
        if (!options.ElasticTraining)
        {
            return (options.MinElasticNodes ?? options.MaxElasticNodes ?? options.MaxElasticRestarts) is null ? null
                : throw Refusal.Option("--elastic_training",
                    "--min_elastic_nodes, --max_elastic_nodes and --max_elastic_restarts are its limits", "add it, or remove them");
        }

        (int minimum, int maximum) = (options.MinElasticNodes ?? 1, options.MaxElasticNodes ?? int.MaxValue);
        if (minimum > maximum)
        {
            throw Refusal.Option("--min_elastic_nodes", $"{minimum} is above --max_elastic_nodes, which is {maximum}", "use a smaller one");
        }

        ElasticityConfig? section = ConfigFile(options.ProgramArguments) is { } file && File.Exists(file) ? SectionOf(file) : null;
        return new Elasticity(minimum, maximum, section is { Enabled: true } ? section : null,
            new Restarts(options.MaxElasticRestarts ?? DefaultRestarts, "--max_elastic_restarts", console));
    }

    /// <summary>The elasticity section of a config file; what else is "auto" in it, the program fills when it starts.</summary>
    /// <exception cref="ConfigException">The file cannot be read, or has problems.</exception>
    public static ElasticityConfig SectionOf(string file)
    {
        DeepSpeedConfig config = DeepSpeedConfig.LoadForLater(file);
        return config.UnresolvedAuto.FirstOrDefault(path => path.StartsWith("elasticity", StringComparison.Ordinal)) is { } auto
            ? throw Refusal.Of(file, auto, "\"auto\" says nothing here: the numbers of ranks follow from this section", "write a value")
            : config.Elasticity;
    }

    /// <summary>Refuses to start where even all hosts are too few.</summary>
    /// <exception cref="ConfigException">They are.</exception>
    public void Check(IReadOnlyList<HostSlots> hosts)
    {
        if (Choose(hosts) is null)
        {
            throw TooFew(hosts, hosts);
        }
    }

    /// <summary>The most hosts that may be used, in their order; null when no number of them is allowed.</summary>
    /// <param name="hosts">Hosts that can be used now.</param>
    public IReadOnlyList<HostSlots>? Choose(IReadOnlyList<HostSlots> hosts)
    {
        for (int count = Math.Min(hosts.Count, MaxNodes); count >= MinNodes; count--)
        {
            IReadOnlyList<HostSlots> some = [.. hosts.Take(count)];
            if (Fits(some.Sum(host => host.Slots.Count)))
            {
                return some;
            }
        }

        return null;
    }

    /// <summary>What to say when <see cref="Choose"/> finds none.</summary>
    /// <param name="pool">All hosts.</param>
    /// <param name="hosts">Those that can be used now.</param>
    public ConfigException TooFew(IReadOnlyList<HostSlots> pool, IReadOnlyList<HostSlots> hosts)
    {
        string answering = hosts.Count == 0 ? "no host answers"
            : $"{hosts.Count} of {pool.Count} hosts can be used ({string.Join(", ", hosts.Select(host => host.Host))})";
        return hosts.Count < MinNodes || Section is null
            ? Refusal.Option("--min_elastic_nodes", $"{answering}, and training needs {MinNodes}", "repair the others, or allow fewer")
            : Refusal.Option("--elastic_training", $"{answering}, and the elasticity section allows only these numbers of ranks: "
                + string.Join(", ", ElasticBatch.Find(Section).DataParallelSizes), "repair the others, or allow more batch sizes");
    }

    /// <summary>Variables that tell a rank which start this is; names of PyTorch's elastic agent, and the worker's own.</summary>
    /// <param name="restarts">Restarts so far.</param>
    public IReadOnlyList<KeyValuePair<string, string>> Variables(int restarts) =>
    [
        new("TORCHELASTIC_RUN_ID", _run), new("TORCHELASTIC_RESTART_COUNT", $"{restarts}"),
        new("TORCHELASTIC_MAX_RESTARTS", $"{Restarts.Limit}"),

        // A rank of the start before, late to end, must not join the ranks of this one.
        new("DSJ_JOB_UID", _run), new("DSJ_ATTEMPT", $"{restarts + 1}"),
    ];

    private bool Fits(int worldSize)
    {
        try
        {
            return Section is null || ElasticBatch.For(Section, worldSize).MicroBatchSize is not null;
        }
        catch (ConfigException)
        {
            return false;
        }
    }

    private static string? ConfigFile(IReadOnlyList<string> arguments)
    {
        for (int i = 0; i < arguments.Count; i++)
        {
            foreach (string option in ConfigOptions)
            {
                // DeepSpeed's own scripts take --deepspeed as a switch, with the file after --deepspeed_config.
                if (arguments[i] == option && i + 1 < arguments.Count && !arguments[i + 1].StartsWith('-'))
                {
                    return arguments[i + 1];
                }

                if (arguments[i].StartsWith(option + "=", StringComparison.Ordinal))
                {
                    return arguments[i][(option.Length + 1)..];
                }
            }
        }

        return null;
    }
}
