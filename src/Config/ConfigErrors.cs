namespace DeepSpeedSharp.Config;

/// <summary>One problem of a config or manifest: where it is, what is wrong, and what to do.</summary>
/// <param name="Path">JSON path of the value, for example <c>optimizer.params.lr</c>.</param>
/// <param name="Problem">What is wrong, with the value found.</param>
/// <param name="Fix">What to change, and to what.</param>
public sealed record ConfigError(string Path, string Problem, string Fix)
{
    /// <summary>The problem as one line of text. Messages of the system end with a full stop, and go on here.</summary>
    public override string ToString() => $"{Path}: {Problem.TrimEnd('.')}; {Fix}";
}

/// <summary>Collects every problem of one document, so that a user sees all of them at once.</summary>
public sealed class ConfigErrors
{
    private readonly List<ConfigError> _errors = [];

    /// <summary>The problems found so far, in the order they were found.</summary>
    public IReadOnlyList<ConfigError> All => _errors;

    /// <summary>Whether a problem was found.</summary>
    public bool Any => _errors.Count > 0;

    /// <summary>Adds a problem.</summary>
    /// <param name="path">JSON path of the value.</param>
    /// <param name="problem">What is wrong.</param>
    /// <param name="fix">What to do about it.</param>
    public void Add(string path, string problem, string fix) => _errors.Add(new ConfigError(path, problem, fix));

    /// <summary>Adds problems found elsewhere, below a prefix.</summary>
    /// <param name="prefix">Path of the part they were found in; empty for the whole document.</param>
    /// <param name="errors">The problems.</param>
    public void AddAll(string prefix, IEnumerable<ConfigError> errors) =>
        _errors.AddRange(prefix.Length == 0
            ? errors : errors.Select(e => e with { Path = e.Path == "$" ? prefix : $"{prefix}.{e.Path}" }));

    /// <summary>Throws when there is a problem.</summary>
    /// <param name="subject">Name of the document, for example a file name.</param>
    /// <exception cref="ConfigException">At least one problem was added.</exception>
    public void ThrowIfAny(string subject)
    {
        if (Any)
        {
            throw new ConfigException(subject, All);
        }
    }
}

/// <summary>A document the user has to correct; carries all its problems.</summary>
public sealed class ConfigException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="subject">Name of the document, for example a file name.</param>
    /// <param name="errors">Its problems, at least one.</param>
    public ConfigException(string subject, IReadOnlyList<ConfigError> errors)
        : base($"{subject} has {(errors.Count == 1 ? "a problem" : $"{errors.Count} problems")}:"
            + string.Concat(errors.Select(e => $"{Environment.NewLine}  {e}")))
    {
        Subject = subject;
        Errors = errors;
    }

    /// <summary>Name of the document.</summary>
    public string Subject { get; }

    /// <summary>All problems, in the order they were found.</summary>
    public IReadOnlyList<ConfigError> Errors { get; }
}
