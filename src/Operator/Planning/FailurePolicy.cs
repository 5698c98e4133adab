using System.Text.RegularExpressions;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What is done about a failure: the first of the user's rules that matches decides, else the kind of failure.</summary>
/// <param name="Action">FailJob, Restart or RestartIgnoreLimit.</param>
/// <param name="Rule">The rule that matched.</param>
internal sealed record FailurePolicy(string Action, FailureRule? Rule)
{
    public const string FailJob = "FailJob";
    public const string Restart = "Restart";
    public const string RestartIgnoreLimit = "RestartIgnoreLimit";

    /// <summary>Judges the failure that came first.</summary>
    /// <param name="failure">The failure.</param>
    /// <param name="spec">The spec with its rules.</param>
    public static FailurePolicy For(NodeFailure failure, DeepSpeedJobSpec? spec)
    {
        // What the cluster did to a pod says nothing about the program, which is what rules are about.
        FailureRule? rule = failure.Kind == FailureKind.Disruption ? null
            : spec?.Restart?.Rules?.FirstOrDefault(r => Matches(r, failure));
        return new FailurePolicy(rule?.Action ?? failure.Kind switch
        {
            FailureKind.Refusal => FailJob,
            FailureKind.Counted => Restart,
            _ => RestartIgnoreLimit,
        }, rule);
    }

    private static bool Matches(FailureRule rule, NodeFailure failure) =>
        (rule.ExitCodes is null or [] || (failure.Evidence?.ExitCode is { } code && rule.ExitCodes.Contains(code)))
        && (rule.Reasons is null or []
            || new[] { failure.Reason, failure.Evidence?.TerminatedReason, failure.Evidence?.Reason }.Any(r => r is not null && rule.Reasons.Contains(r)))
        && (rule.MessagePattern is null || Contains(rule.MessagePattern, failure.Evidence?.TerminationMessage ?? failure.Message));

    // Linear in a text of a few kilobytes, whatever the pattern: no time limit, which a busy machine could miss.
    private static bool Contains(string pattern, string text) => Regex.IsMatch(text, pattern, RegexOptions.NonBacktracking);
}
