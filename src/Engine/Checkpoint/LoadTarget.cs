namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>What a checkpoint is read into.</summary>
/// <param name="Model">Parameters and buffers: the elements that this rank needs, and all names on every rank.</param>
/// <param name="Optimizer">The optimizer's states, likewise.</param>
/// <param name="OptimizerName">Name of the optimizer.</param>
/// <param name="SetWhole">Sets a parameter or buffer from its whole value; for a load of the caller's own.</param>
internal sealed record LoadTarget(IReadOnlyList<StatePiece> Model, IReadOnlyList<StatePiece> Optimizer, string OptimizerName,
    Action<string, Tensor> SetWhole)
{
    private const int Shown = 5; // problems in a message

    /// <summary>Makes sure that a checkpoint is one of this model.</summary>
    /// <param name="folder">The checkpoint.</param>
    /// <param name="manifest">Its manifest.</param>
    /// <param name="options">What is to be loaded.</param>
    /// <exception cref="CheckpointException">It belongs to another model or optimizer.</exception>
    public void Check(string folder, CheckpointManifest manifest, LoadCheckpointOptions options)
    {
        Dictionary<(string?, string), TensorRecord> stored = manifest.Tensors.ToDictionary(t => (t.State, t.Name));
        var names = Model.Select(piece => piece.Name).ToHashSet();
        List<string> problems = options.CustomLoad is not null ? [] :
        [
            .. Differences(Model, stored, options.LoadModuleStrict),
            .. options.LoadModuleStrict ? manifest.Model.Where(t => !names.Contains(t.Name)).Select(t => $"{t.Name} is not in the model") : [],
        ];
        if (options.LoadOptimizerStates && !options.LoadModuleOnly && problems.Count == 0)
        {
            CheckOptimizer(folder, CheckpointState.From(folder, manifest.State));
            problems.AddRange(Differences(Optimizer, stored, options.LoadModuleStrict));
        }

        if (problems.Count > 0)
        {
            throw new CheckpointException($"checkpoint {folder} belongs to another model: {string.Join("; ", problems.Take(Shown))}"
                + (problems.Count > Shown ? $"; and {problems.Count - Shown} more" : "")
                + (options.LoadModuleStrict ? " (LoadModuleStrict = false tolerates missing and unexpected names)" : ""));
        }
    }

    private static IEnumerable<string> Differences(
        IReadOnlyList<StatePiece> wanted, Dictionary<(string?, string), TensorRecord> stored, bool isStrict) =>
    [
        .. wanted.Where(p => isStrict && !stored.ContainsKey((p.State, p.Name))).Select(p => $"{NameOf(p)} is missing"),
        .. wanted.Where(p => stored.TryGetValue((p.State, p.Name), out TensorRecord? t) && !t.Shape.SequenceEqual(p.Shape))
            .Select(p => $"{NameOf(p)} is [{string.Join(", ", stored[(p.State, p.Name)].Shape)}], the model has [{string.Join(", ", p.Shape)}]"),
    ];

    private static string NameOf(StatePiece piece) => piece.State is null ? piece.Name : $"{piece.State}.{piece.Name}";

    private void CheckOptimizer(string folder, CheckpointState state)
    {
        // Adam and AdamW have the same state.
        string saved = state.Optimizer ?? "Adam";
        if (Kind(saved) != Kind(OptimizerName))
        {
            throw new CheckpointException($"checkpoint {folder} has the state of {saved}, this run trains with "
                + $"{OptimizerName}; use the same optimizer, or load without its state (LoadOptimizerStates = false)");
        }

        static string Kind(string name) => name.Equals("AdamW", StringComparison.OrdinalIgnoreCase) ? "adam" : name.ToLowerInvariant();
    }
}
