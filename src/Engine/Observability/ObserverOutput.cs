namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Where the engine's lines go.</summary>
/// <param name="Say">Takes a line, or several, for the user.</param>
/// <param name="Warn">Takes a line about something that went wrong.</param>
/// <param name="ShowsProgress">Whether <c>steps_per_print</c> makes the engine print; false for a program that shows
/// progress itself.</param>
internal sealed record ObserverOutput(Action<string> Say, Action<string> Warn, bool ShowsProgress)
{
    /// <summary>The console: standard output, and standard error for warnings.</summary>
    public static ObserverOutput Console { get; } = new(System.Console.Out.WriteLine, System.Console.Error.WriteLine, true);
}
