using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>Counts the collectives of one process group for the recorder.</summary>
internal sealed class FlightGroup(FlightRecorder recorder, string name, IReadOnlyList<int> ranks)
{
    /// <summary>The same on every rank.</summary>
    public string Name => name;

    /// <summary>Its members.</summary>
    public IReadOnlyList<int> Ranks => ranks;

    /// <summary>How many collectives this rank has entered. Written under the recorder's lock.</summary>
    public long LastSequence { get; set; }

    /// <summary>Notes that this rank enters a collective: when it is called, not when its turn comes, since a rank that has
    /// called it is not the one that others wait for.</summary>
    /// <param name="operation">For example <c>AllReduce</c>.</param>
    /// <param name="what">What it moves; a text that exists anyway.</param>
    /// <param name="bytes">Size of this rank's tensor.</param>
    /// <param name="type">Element type, if any.</param>
    /// <returns>To be given to <see cref="RecordEnd"/>.</returns>
    public long RecordStart(string operation, string what, long bytes, torch.ScalarType? type) =>
        recorder.Start(this, operation, what, bytes, type, -1);

    /// <summary>Notes a send to, or a receive from, one rank; it has no place in the order of collectives.</summary>
    public long RecordPeer(string operation, string what, long bytes, torch.ScalarType? type, int peer) =>
        recorder.Start(this, operation, what, bytes, type, peer);

    /// <summary>Notes that it has ended well. One that failed stays open, and the dump shows it so.</summary>
    public void RecordEnd(long token) => recorder.End(token);
}
