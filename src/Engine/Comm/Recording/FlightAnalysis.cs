namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>What the dumps of several ranks say together: who did not enter which collective, and who called another one.</summary>
internal static class FlightAnalysis
{
    private const int LargestCount = 20;

    /// <summary>Findings, one sentence each; none when all ranks had entered the same collectives.</summary>
    /// <param name="dumps">One per rank; ranks may be missing.</param>
    public static IReadOnlyList<string> Describe(IReadOnlyCollection<FlightDump> dumps)
    {
        var findings = new List<string>();
        foreach (IGrouping<string, (FlightDump Dump, FlightDumpGroup Group)> group in dumps
            .SelectMany(dump => dump.Groups.Select(group => (dump, group))).GroupBy(item => item.group.Name))
        {
            Mismatch(findings, group.Key, dumps);
            Behind(findings, group.Key, [.. group]);
        }

        return findings.Count <= LargestCount
            ? findings : [.. findings.Take(LargestCount), $"and {findings.Count - LargestCount} more"];
    }

    private static void Behind(List<string> findings, string name, IReadOnlyList<(FlightDump Dump, FlightDumpGroup Group)> members)
    {
        long furthest = members.Max(member => member.Group.Entered);
        foreach ((FlightDump dump, FlightDumpGroup group) in members.Where(member => member.Group.Entered < furthest))
        {
            // The first one that it did not enter, as a rank that did enter it describes it.
            long next = group.Entered + 1;
            FlightRecord described = members.SelectMany(member => member.Dump.Collectives)
                .FirstOrDefault(entry => entry.Group == name && entry.Sequence == next);
            string what = described.Operation is null ? $"number {next} of group {name}" : described.ToString();
            string others = string.Join(", ", members.Where(member => member.Group.Entered >= next).Select(member => member.Dump.Rank));
            findings.Add($"rank {dump.Rank} on {dump.Host} did not enter {what}, which {(others.Contains(',', StringComparison.Ordinal) ? "ranks" : "rank")} "
                + $"{others} entered; it was in step {dump.Step}");
        }

        int[] silent = [.. members[0].Group.Ranks.Except(members.Select(member => member.Dump.Rank))];
        if (silent.Length > 0)
        {
            findings.Add($"no dump of {(silent.Length == 1 ? "rank" : "ranks")} {string.Join(", ", silent)} of group {name}; "
                + $"the others entered {furthest} collectives");
        }
    }

    // Operation and size under the same number must be the same; uneven gathers differ in size only.
    private static void Mismatch(List<string> findings, string name, IReadOnlyCollection<FlightDump> dumps)
    {
        var first = new Dictionary<long, (int Rank, FlightRecord Entry)>();
        foreach (FlightDump dump in dumps)
        {
            foreach (FlightRecord entry in dump.Collectives.Where(entry => entry.Group == name && entry.Sequence > 0))
            {
                if (!first.TryGetValue(entry.Sequence, out (int Rank, FlightRecord Entry) other))
                {
                    first[entry.Sequence] = (dump.Rank, entry);
                }
                else if (other.Entry.Operation != entry.Operation || other.Entry.Type != entry.Type)
                {
                    findings.Add($"number {entry.Sequence} of group {name} was {entry.Operation} of {entry.Name} ({Words(entry)}) on rank {dump.Rank}, but "
                        + $"{other.Entry.Operation} of {other.Entry.Name} ({Words(other.Entry)}) on rank {other.Rank}");
                    return; // what follows a mismatch is its consequence
                }
            }
        }

        static string Words(FlightRecord entry) => $"{entry.Bytes} bytes{(entry.Type is { } type ? $" of {type}" : "")}";
    }
}
