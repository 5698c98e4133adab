namespace DeepSpeedSharp.Launcher.Tests;

/// <content>Signals, by the launcher's own call.</content>
internal sealed partial class LauncherProcess
{
    public void Send(int signal) => Assert.Equal(0, Libc.Send(Id, signal));
}
