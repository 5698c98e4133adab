namespace DeepSpeedSharp.Config;

/// <summary>What all sections of one config share while it is read.</summary>
/// <param name="Errors">Receives every problem.</param>
/// <param name="Arguments">What a trainer's arguments say, or null when there is no trainer.</param>
/// <param name="LeavesAuto">True when a trainer will fill "auto" later; then it is no problem at the top level either.</param>
internal sealed record ConfigReading(ConfigErrors Errors, ArgumentValues? Arguments, bool LeavesAuto)
{
    /// <summary>Paths of the values "auto" that nobody filled.</summary>
    public List<string> UnresolvedAuto { get; } = [];
}
