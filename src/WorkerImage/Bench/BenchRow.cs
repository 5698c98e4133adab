using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Worker.Bench;

/// <summary>One line of the table.</summary>
/// <param name="Op">DeepSpeed's name of the operation.</param>
/// <param name="Backend">What carried it.</param>
/// <param name="Ranks">Number of ranks.</param>
/// <param name="Type">Element type.</param>
/// <param name="Bytes">Size of the message: of an all-gather, reduce-scatter or all-to-all, that of all ranks' parts.</param>
/// <param name="Count">The same in elements.</param>
/// <param name="TimeUs">Time of one call in microseconds, of the slowest rank.</param>
/// <param name="AlgbwGBs">Message over time, in GB/s.</param>
/// <param name="BusbwGBs">What a link carried, in GB/s: comparable between operations and numbers of ranks.</param>
/// <param name="Wrong">Elements with a wrong value, of all ranks.</param>
internal sealed record BenchRow(string Op, string Backend, int Ranks, string Type, long Bytes, long Count, double TimeUs,
    [property: JsonPropertyName("algbw_gb_per_s")] double AlgbwGBs, [property: JsonPropertyName("busbw_gb_per_s")] double BusbwGBs, long Wrong)
{
    private static readonly JsonSerializerOptions Names = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Computes the bandwidths as NCCL's tests do.</summary>
    public static BenchRow Of(string op, string backend, int ranks, string type, long bytes, long count, double seconds, long wrong)
    {
        double algorithm = bytes / seconds / 1e9;
        double share = op switch
        {
            "all_reduce" => 2.0 * (ranks - 1) / ranks,
            "all_gather" or "reduce_scatter" or "all_to_all" => (double)(ranks - 1) / ranks,
            _ => 1,
        };
        return new BenchRow(op, backend, ranks, type, bytes, count, seconds * 1e6, algorithm, algorithm * share, wrong);
    }

    /// <summary>The lines above an operation's rows.</summary>
    public static IEnumerable<string> Header(string op, string backend, int ranks, string description)
    {
        yield return $"# {op}, {ranks} ranks, {backend}: {description}";
        yield return "#        size        count      type          time     algbw     busbw   #wrong";
        yield return "#         (B)   (elements)                    (us)    (GB/s)    (GB/s)";
    }

    /// <summary>The row for programs.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Names);

    /// <summary>The row for people.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Bytes,13}{Count,13}{Type,10}{TimeUs,14:0.00}{AlgbwGBs,10:0.000}{BusbwGBs,10:0.000}{Wrong,9}");
}
