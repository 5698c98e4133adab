namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>One ssh for each host, with the launcher of the host behind it.</summary>
internal static class SshNodes
{
    /// <summary>Starts them.</summary>
    /// <param name="commands">The command line for each host.</param>
    /// <param name="world">The hosts.</param>
    /// <param name="program">File of ssh.</param>
    /// <param name="environment">Variables of ssh itself.</param>
    /// <param name="console">Where their lines are shown.</param>
    /// <param name="guard">Sees to their end when this process dies.</param>
    public static List<NodeProcess> Start(IReadOnlyList<IReadOnlyList<string>> commands, World world, string program,
        IReadOnlyDictionary<string, string> environment, RunConsole console, ChildGuard guard) =>
        [.. commands.Select((command, node) => NodeProcess.Start(
            new LaunchNode(node, world.Hosts[node].Host, $"host {world.Hosts[node].Host}", command, [], environment),
            program, null, console, guard, hasLauncher: true))];
}
