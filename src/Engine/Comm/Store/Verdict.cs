using System.Globalization;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Which ranks are lost and why, the same words for every rank.</summary>
/// <param name="Ranks">In order; empty when unknown.</param>
/// <param name="Host">Where the first of them ran.</param>
/// <param name="LastCollective">What the first of them had entered last, in words; empty before the first collective.</param>
/// <param name="Step">The optimizer step in which it was; -1 when it never said.</param>
/// <param name="Reason">What was seen, and what to do.</param>
internal sealed record Verdict(IReadOnlyList<int> Ranks, string Host, string LastCollective, long Step, string Reason)
{
    public byte[] Encode() => new FieldWriter().List(Ranks, (fields, rank) => fields.Number(rank))
        .Text(Host).Text(LastCollective).Long(Step).Text(Reason).ToArray();

    /// <exception cref="InvalidDataException">It is something else.</exception>
    public static Verdict Decode(ReadOnlySpan<byte> body)
    {
        var reader = new FieldReader(body);
        return new Verdict(reader.List((ref FieldReader fields) => fields.Number()), reader.Text(), reader.Text(), reader.Long(), reader.Text());
    }

    /// <summary>The exception that a rank throws.</summary>
    /// <param name="rank">The rank that throws it.</param>
    /// <param name="inner">What it saw itself.</param>
    public PeerLostException ToException(int rank, Exception? inner = null)
    {
        string who = Ranks.Count == 1 ? $"rank {Ranks[0]}" : $"ranks {string.Join(", ", Ranks)}";
        string where = Host.Length == 0 ? "" : $" at {Host}";
        string when = Step < 0 ? "" : string.Create(CultureInfo.InvariantCulture,
            $" (step {Step}, {(LastCollective.Length == 0 ? "no collective yet" : $"last collective {LastCollective}")})");
        string message = Ranks.Count == 0 ? Reason : $"rank {rank}: lost {who}{where}{when}: {Reason}";
        return new PeerLostException(Ranks.Count == 0 ? -1 : Ranks[0], $"{message}. See docs/operations.md#lost-ranks.", inner)
        {
            Ranks = Ranks,
            Host = Host,
            LastCollective = LastCollective,
            Step = Step < 0 ? null : Step,
        };
    }
}
