namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>How the launcher of a node learns what its front end wants, and that it is gone, so that no rank stays behind.</summary>
/// <remarks>ssh passes words on, and closes the input of the command when the front end closes its own, when it dies, and when
/// the connection is lost. pdsh passes nothing on, but keeps the input of its ssh open as long as it lives.</remarks>
internal static class Lifeline
{
    /// <summary>The word for: let the ranks save and end.</summary>
    public const string Stop = "stop";

    /// <summary>The word for: end the ranks at once.</summary>
    public const string Kill = "kill";

    /// <summary>Follows the input of this process.</summary>
    public static void Watch(StopSignals stop) => _ = Task.Factory.StartNew(
        () =>
        {
            using var input = new StreamReader(Console.OpenStandardInput());
            while (input.ReadLine() is { } word)
            {
                if (word is Stop or Kill)
                {
                    stop.Request("the front end");
                }

                if (word == Kill)
                {
                    stop.Insist();
                }
            }

            stop.Request("the loss of the front end");
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
