using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What follows from a spec alone. A job has many passes with one spec, so it is found once.</summary>
/// <param name="Problems">Everything that is wrong with it.</param>
/// <param name="Hash">Its <see cref="SpecHash"/>.</param>
internal sealed record SpecFacts(IReadOnlyList<ConfigError> Problems, string Hash)
{
    /// <summary>Finds them.</summary>
    /// <param name="name">Name of the job.</param>
    /// <param name="spec">Its spec.</param>
    /// <param name="allowHostAccess">Whether jobs may reach into machines.</param>
    public static SpecFacts Of(string name, DeepSpeedJobSpec spec, bool allowHostAccess) =>
        new(ClusterRules.Check(name, spec, allowHostAccess), SpecHash.Of(spec));
}
