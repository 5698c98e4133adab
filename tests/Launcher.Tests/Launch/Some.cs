using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Test data: machines and worlds.</summary>
internal static class Some
{
    public static Surroundings Machine(int gpus, string? hostfile = null, bool hasPdsh = true, params (string, string)[] environment) =>
        new(hostfile, environment.ToDictionary(e => e.Item1, e => e.Item2), () => gpus,
            (_, command) => new SshAnswer(true, command == "hostname -I" ? "10.0.0.11" : "host"), program => program != "pdsh" || hasPdsh);

    public static World World(params (string Host, int Slots)[] hosts) =>
        new([.. hosts.Select(h => HostSlots.Counting(h.Host, h.Slots))], "10.0.0.11", 29500, null, 0, false, []);

    public static LaunchOptions Options(params string[] words) => LaunchOptionReader.Read(words);
}
