namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>How far a rank has come, as its heartbeat tells.</summary>
/// <param name="Step">Optimizer step.</param>
/// <param name="LastCollective">The one it entered last, in words; empty before the first.</param>
/// <param name="Groups">Per process group.</param>
internal sealed record RankProgress(long Step, string LastCollective, IReadOnlyList<GroupProgress> Groups)
{
    public static RankProgress None { get; } = new(0, "", []);
}

/// <summary>How far a rank has come in one group.</summary>
/// <param name="Group">Name of the group.</param>
/// <param name="Entered">Number of the last collective it has entered; 0 before the first.</param>
/// <param name="WaitingIn">Number of the oldest one that has not ended; 0 when there is none.</param>
/// <param name="Waited">For how long, by the rank's own clock.</param>
/// <param name="Description">That collective in words.</param>
internal sealed record GroupProgress(string Group, long Entered, long WaitingIn, TimeSpan Waited, string Description);
