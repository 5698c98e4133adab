using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Jobs;

/// <summary>What happens when a rank fails.</summary>
public sealed record RestartSpec
{
    /// <summary>Whether a job starts again at all.</summary>
    [Description("Gang, the default: all pods are replaced, as a rank cannot rejoin a running world. Never: the first failure of any kind ends the job.")]
    [OneOf("Gang", "Never")]
    [Default("Gang")]
    public string? Policy { get; init; }

    /// <summary>Failures after which the job is given up.</summary>
    [Description("How many failures the job survives. Pods that were deleted or evicted, or lost with their machine, do not count. Default 3.")]
    [Range(0, 1_000_000)]
    [Default(3)]
    public int? MaxRestarts { get; init; }

    /// <summary>Uncounted restarts after which the job is given up.</summary>
    [Description("How many restarts that do not count as failures the job survives: evictions, lost machines, rules with RestartIgnoreLimit. No limit when left out.")]
    [Range(0, 1_000_000)]
    public int? MaxDisruptions { get; init; }

    /// <summary>Pause before the first restart of a row.</summary>
    [Description("Seconds before the first restart; each further failure in a row doubles them. Default 10.")]
    [Range(0, 86_400)]
    [Default(10)]
    public int? BackoffSeconds { get; init; }

    /// <summary>Longest pause before a restart.</summary>
    [Description("Longest pause before a restart, in seconds. Default 300.")]
    [Range(0, 86_400)]
    [Default(300)]
    public int? BackoffMaxSeconds { get; init; }

    /// <summary>Training that ends a row of failures.</summary>
    [Description("Seconds of training without failure after which the pause begins at backoffSeconds again. Default 1800.")]
    [Range(1, int.MaxValue)]
    [Default(1800)]
    public int? ResetAfterSeconds { get; init; }

    /// <summary>Whether the next attempt waits for the pods of the last one.</summary>
    [Description("Blocking, the default: the next attempt begins when all pods of the last one have ended, so their last checkpoint is whole. Replace: it begins at once.")]
    [OneOf("Blocking", "Replace", "InPlace", NotYet = ["InPlace"])]
    [Default("Blocking")]
    public string? Strategy { get; init; }

    /// <summary>When the pods of a machine that does not answer count as lost.</summary>
    [Description("Seconds after which the pods of a machine that does not answer count as lost and are replaced. Default: the operator's, usually 60.")]
    [Range(1, 86_400)]
    public int? NodeLossSeconds { get; init; }

    /// <summary>What certain failures mean.</summary>
    [Description("What certain failures mean. The first rule that matches the pod that failed first decides; without one, exit codes 64, 65 and 78 end the job and anything else is a counted restart.")]
    [ListMapKey("name")]
    [MaxItems(20)]
    public IReadOnlyList<FailureRule>? Rules { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

/// <summary>What a certain failure means. All criteria that are given must match.</summary>
[Rule("has(self.exitCodes) || has(self.reasons) || has(self.messagePattern)", "give exitCodes, reasons or messagePattern")]
public sealed record FailureRule
{
    /// <summary>Name of the rule, for the status.</summary>
    [Description("Name of the rule, shown in status.lastFailures.")]
    [MaxLength(63)]
    public string Name { get; init; } = "";

    /// <summary>Exit codes it is about.</summary>
    [Description("Exit codes of the container trainer that match; 0 is not allowed.")]
    [MaxItems(20)]
    public IReadOnlyList<int>? ExitCodes { get; init; }

    /// <summary>Reasons it is about.</summary>
    [Description("Reasons that match: of the container's end, such as OOMKilled, or of the failure, such as PeerLost.")]
    [MaxItems(20)]
    [MaxItemLength(128)]
    public IReadOnlyList<string>? Reasons { get; init; }

    /// <summary>Pattern of the termination message.</summary>
    [Description("A regular expression that the termination message contains. Without back references and look-around, so that it takes linear time.")]
    [MaxLength(256)]
    public string? MessagePattern { get; init; }

    /// <summary>What to do.</summary>
    [Description("FailJob ends the job, Restart is a counted restart, RestartIgnoreLimit one that is not counted.")]
    [OneOf("FailJob", "Restart", "RestartIgnoreLimit")]
    public string? Action { get; init; }

    /// <summary>Keeps later attempts off the machine.</summary>
    [Description("Whether later attempts stay off the machine of the pod that failed first. Default false.")]
    public bool? AvoidNode { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}
