using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>One collective, or one send or receive, of this rank.</summary>
/// <param name="Group">Name of the process group.</param>
/// <param name="Sequence">Number among the group's collectives, from 1, the same on every rank; 0 for a send or receive.</param>
/// <param name="Operation">For example <c>AllReduce</c>.</param>
/// <param name="Name">What it moves, for example <c>gradient bucket 3</c>.</param>
/// <param name="Bytes">Size of this rank's tensor.</param>
/// <param name="Type">Element type; null where there are no elements.</param>
/// <param name="Peer">The other rank of a send or receive; -1 for a collective.</param>
/// <param name="Step">The optimizer step in which it was started.</param>
/// <param name="Started">When this rank entered it.</param>
/// <param name="Ended">When it ended; null while it is under way or when it failed.</param>
public readonly record struct FlightRecord(string Group, long Sequence, string Operation, string Name, long Bytes,
    torch.ScalarType? Type, int Peer, long Step, DateTimeOffset Started, DateTimeOffset? Ended)
{
    /// <summary>One line for messages.</summary>
    public override string ToString() => Peer < 0
        ? $"{Operation} of {Name} ({Bytes} bytes), number {Sequence} of group {Group}"
        : $"{Operation} of {Name} ({Bytes} bytes) with rank {Peer}, group {Group}";
}
