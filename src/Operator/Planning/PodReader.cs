using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Reads pods one after another, of which those of one job share the texts that are equal.</summary>
/// <remarks>For one stream of pods; not for several at a time.</remarks>
internal sealed class PodReader
{
    private const int MostTexts = 4096;

    private readonly Dictionary<string, string> _texts = [];

    /// <summary>Reads a pod as the API server sends it.</summary>
    public PodSnapshot Read(JsonElement pod)
    {
        var read = PodSnapshot.Read(pod);
        return read with
        {
            Namespace = Shared(read.Namespace)!,
            OwnerUid = Shared(read.OwnerUid),
            OwnerName = Shared(read.OwnerName),
            Phase = Shared(read.Phase)!,
            Reason = Shared(read.Reason),
            ClusterNode = Shared(read.ClusterNode),
            WaitingReason = Shared(read.WaitingReason),
            TerminatedReason = Shared(read.TerminatedReason),
            Group = Shared(read.Group),
        };
    }

    private string? Shared(string? text)
    {
        if (text is null)
        {
            return null;
        }

        if (_texts.TryGetValue(text, out string? known))
        {
            return known;
        }

        // Jobs and machines come and go: what is forgotten is found again with the next pod.
        if (_texts.Count >= MostTexts)
        {
            _texts.Clear();
        }

        return _texts[text] = text;
    }
}
