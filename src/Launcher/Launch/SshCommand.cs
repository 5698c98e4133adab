using System.CommandLine;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary><c>deepspeed ssh</c>: runs a command on every host of a hostfile.</summary>
internal static class SshCommand
{
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(10);

    public static Command Create()
    {
        var hostfile = new Option<string>("--hostfile", "-f", "-H")
        {
            Description = "The hostfile.",
            HelpName = "FILE",
            DefaultValueFactory = _ => Hostfile.DefaultPath,
        };
        var port = new Option<int?>("--ssh-port", "--ssh_port") { Description = "Port of ssh on the hosts.", HelpName = "PORT" };
        var words = new Argument<string[]>("COMMAND")
        {
            Description = "The command; put -- in front of one with options.",
            Arity = ArgumentArity.OneOrMore,
        };
        var command = new Command("ssh") { hostfile, port, words };
        command.SetAction((parsed, _) => RunAsync(parsed.GetValue(hostfile)!, parsed.GetValue(port), parsed.GetValue(words)!));
        return command;
    }

    private static async Task<int> RunAsync(string file, int? port, string[] words)
    {
        if (!File.Exists(file))
        {
            throw Refusal.Of(file, "--hostfile", "there is no such file", "write a line HOST slots=N for each host");
        }

        IReadOnlyList<HostSlots> hosts = Hostfile.Parse(InputFile.Read(file), file);
        LocalMachine machine = LocalMachine.Current();
        string program = InstalledProgram.Find("ssh", machine.Environment.GetValueOrDefault("PATH"))
            ?? throw Refusal.Option("ssh", "it is not installed on this machine", "install an ssh client");
        var options = new LaunchOptions { SshPort = port };
        RunConsole console = RunConsole.OfProcess();
        using var stop = new StopSignals();
        using ChildGuard guard = ChildGuard.Start(Grace);
        NodeProcess[] nodes = [.. hosts.Select((host, i) => NodeProcess.Start(
            new LaunchNode(i, host.Host, $"host {host.Host}",
                [.. RemoteCommands.SshTo(host.Host, options), string.Join(' ', words)], [], machine.Environment),
            program, null, console, guard))];

        // Unlike a training, one host's failure is no reason to end the others.
        Task all = Task.WhenAll(nodes.Select(node => node.Exit));
        await Task.WhenAny(all, stop.Requested);
        if (stop.IsRequested)
        {
            Array.ForEach(nodes, node => node.Kill());
            return ExitCodes.Stopped;
        }

        foreach (NodeProcess node in nodes.Where(node => node.HasFailed))
        {
            console.Problem($"{node.Node.FullName}: {ExitCodeText.Describe(await node.Exit)}");
        }

        return nodes.Max(node => node.Exit.Result);
    }
}
