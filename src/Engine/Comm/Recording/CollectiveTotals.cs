namespace DeepSpeedSharp.Engine.Comm.Recording;

/// <summary>What the collectives of one kind have taken so far.</summary>
/// <param name="Count">How many have ended.</param>
/// <param name="Bytes">Their messages, of this rank.</param>
/// <param name="Time">From each call to its end, waiting for the slowest rank included. Much of it may pass beside computation.</param>
public readonly record struct CollectiveTotals(long Count, long Bytes, TimeSpan Time);
