namespace DeepSpeedSharp.Config;

/// <summary>The names of collectives in <c>comms_logger.prof_ops</c>: DeepSpeed's.</summary>
internal static class CommsOperations
{
    // The forms of one collective: whichever is named, all are meant.
    private static readonly string[][] Forms =
    [
        ["all_reduce", "all_reduce_coalesced"],
        ["reduce_scatter_tensor", "reduce_scatter", "reduce_scatter_tensor_coalesced"],
        ["all_gather_into_tensor", "all_gather", "all_gather_coalesced", "all_gather_into_tensor_coalesced"],
        ["all_to_all_single", "all_to_all"],
        ["broadcast"],
        ["reduce"],
        ["gather"],
        ["scatter"],
        ["send", "isend"],
        ["recv", "irecv"],
        ["barrier", "monitored_barrier"],
    ];

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> All { get; } = [.. Forms.SelectMany(forms => forms)];

    /// <summary>Whether a list of names has an operation, in any of its forms.</summary>
    public static bool Matches(IReadOnlyList<string> names, string operation) =>
        Forms.FirstOrDefault(forms => forms.Contains(operation)) is { } forms && names.Any(forms.Contains);
}
