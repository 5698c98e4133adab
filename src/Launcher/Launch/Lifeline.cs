namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>How the launcher of a node learns that its front end is gone, so that no rank stays behind.</summary>
/// <remarks>ssh closes the input of the command when the front end closes its own, when it dies, and when the connection
/// is lost. pdsh passes nothing on, but keeps the input of its ssh open as long as it lives.</remarks>
internal static class Lifeline
{
    /// <summary>Asks to stop when the input of this process ends.</summary>
    public static void Watch(StopSignals stop) => _ = Task.Factory.StartNew(
        () =>
        {
            using Stream input = Console.OpenStandardInput();
            var ignored = new byte[256];
            while (input.Read(ignored) > 0)
            {
            }

            stop.Request("the loss of the front end");
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
