using System.Diagnostics;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Starts the launchers of other hosts, and starts them again after a failure on the hosts that still answer.</summary>
/// <param name="pool">All hosts of the hostfile.</param>
/// <param name="options">The options.</param>
/// <param name="elastic">Its rules.</param>
/// <param name="exports">Variables for every rank.</param>
/// <param name="machine">This machine.</param>
/// <param name="console">Where to report.</param>
internal sealed class ElasticFrontEnd(World pool, LaunchOptions options, Elasticity elastic,
    IReadOnlyList<KeyValuePair<string, string>> exports, LocalMachine machine, RunConsole console)
{
    // A host that restarts needs some time. DeepSpeed's number for waiting until enough are there.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(100);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(5);

    /// <summary>Runs the job, start after start.</summary>
    /// <returns>0, the exit code of the last failure, or <see cref="ExitCodes.Stopped"/> after a signal.</returns>
    public async Task<int> RunAsync()
    {
        string program = InstalledProgram.Find("ssh", machine.Environment.GetValueOrDefault("PATH"))
            ?? throw Refusal.Option("--launcher", "ssh is not installed on this machine", "install it");
        using var stop = new StopSignals();
        using ChildGuard guard = ChildGuard.Start(FrontEnd.Grace);
        int exitCode = ExitCodes.Configuration;
        for (int restarts = 0; ; restarts++)
        {
            World? world;
            try
            {
                world = await GatherAsync(isFirst: restarts == 0, stop);
            }
            catch (ConfigException e) when (restarts > 0)
            {
                console.Problem($"giving up: {e.Message}");
                return exitCode;
            }

            if (world is null)
            {
                return ExitCodes.Stopped;
            }

            List<NodeProcess> nodes = SshNodes.Start(FrontEnd.Commands(world, options, [.. exports, .. elastic.Variables(restarts)]),
                world, program, machine.Environment, console, guard);
            AttemptEnd end = await new Attempt(nodes, FrontEnd.Grace, stop, console).RunAsync();
            if (end.Failed is not { } failed)
            {
                return end.IsStopped ? ExitCodes.Stopped : ExitCodes.Done;
            }

            exitCode = await failed.Exit;
            if (!await elastic.Restarts.MayAsync(exitCode, restarts, stop))
            {
                return exitCode;
            }
        }
    }

    // The hosts of the next start: all that answer, cut down to a number that is allowed. Null after a signal.
    private async Task<World?> GatherAsync(bool isFirst, StopSignals stop)
    {
        long begin = Stopwatch.GetTimestamp();
        bool isAnnounced = false;
        while (true)
        {
            Task<IReadOnlyList<HostSlots>> asking = isFirst && options.NoSshCheck ? Task.FromResult(pool.Hosts) : AskAsync(isAnnounced);
            await Task.WhenAny(asking, stop.Requested);
            if (stop.IsRequested)
            {
                return null;
            }

            IReadOnlyList<HostSlots> answering = await asking;
            if (elastic.Choose(answering) is { } hosts)
            {
                return Announce(pool with { Hosts = hosts, MasterAddress = MasterOf(hosts) });
            }

            if (Stopwatch.GetElapsedTime(begin) > Patience)
            {
                throw elastic.TooFew(pool.Hosts, answering);
            }

            if (!isAnnounced)
            {
                console.Say($"waiting at most {Patience.TotalSeconds:0} s for enough hosts to answer");
                isAnnounced = true;
            }

            await Task.WhenAny(Task.Delay(Pause), stop.Requested);
        }
    }

    private async Task<IReadOnlyList<HostSlots>> AskAsync(bool quietly)
    {
        SshAnswer[] answers = await Task.WhenAll(pool.Hosts.Select(host => Task.Run(() => SshProbe.Ask(host.Host, "hostname", options))));
        var answering = new List<HostSlots>();
        foreach ((HostSlots host, SshAnswer answer) in pool.Hosts.Zip(answers))
        {
            if (answer.IsReachable)
            {
                answering.Add(host);
            }
            else if (!quietly)
            {
                console.Say($"going on without host {host.Host}: {answer.Text}");
            }
        }

        return answering;
    }

    // The address that the user gave is the first host's; when that is lost, rank 0 is elsewhere.
    private string MasterOf(IReadOnlyList<HostSlots> hosts) => hosts[0].Host == pool.Hosts[0].Host ? pool.MasterAddress
        : World.AddressOf(hosts[0].Host, options, (host, command) => SshProbe.Ask(host, command, options));

    private World Announce(World world)
    {
        string names = string.Join(", ", world.Hosts.Select(host => host.Host));
        console.Say($"{world.Size} {(world.Size == 1 ? "rank" : "ranks")} on {world.Hosts.Count} of {pool.Hosts.Count} hosts: {names}");
        return world;
    }
}
