using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What a person can do about a failure, so that a description of the job is enough to go on.</summary>
internal static class FailureAdvice
{
    /// <summary>One sentence.</summary>
    /// <param name="failure">The failure that came first.</param>
    public static string For(NodeFailure failure) => failure switch
    {
        { Reason: "OOMKilled" } => "Raise resources.limits.memory, or use a smaller micro batch or a higher ZeRO stage.",
        { Reason: Reasons.Hang } => $"Look at {Machine(failure)}, and raise progressDeadlineSeconds if a step may take longer.",
        { Reason: Reasons.PeerLost, Witness: not null } => $"Look at {Machine(failure)} and its network: a rank there hangs, or cannot be reached. Raise DEEPSPEED_HEARTBEAT_TIMEOUT (seconds) if pauses of that length are normal.",
        { Reason: Reasons.PeerLost } => $"No rank says why another one was lost: look at the network of the machines, and at {Log(failure)}.",
        { Pod.ExitCode: ExitCodes.Usage } => "Correct spec.command and spec.args.",
        { Pod.ExitCode: ExitCodes.BadData } => "Correct the data that the message names.",
        { Pod.ExitCode: ExitCodes.Configuration } => "Correct spec.config.",
        { Pod.ExitCode: 126 or 127 } => "Correct spec.command: the image has no such program.",
        { Pod.ExitCode: ExitCodes.Killed } => $"Something killed the process, such as the machine running out of memory: {Log(failure)} and the machine's kernel log tell more.",
        { Kind: FailureKind.Disruption } => "The cluster ended the pod, not the program: look at the machine, at quotas and at priorities.",
        _ => $"Look at {Log(failure)}.",
    };

    private static string Machine(NodeFailure failure) => failure.Pod?.ClusterNode is { } machine ? $"machine {machine}" : "the machine of that node";

    private static string Log(NodeFailure failure) => failure.Evidence is { } pod ? $"`kubectl logs {pod.Name} -n {pod.Namespace}`" : "its log";
}
