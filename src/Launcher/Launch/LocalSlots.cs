using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The slots of this machine, where there is no hostfile.</summary>
/// <param name="Host">The machine and its slots.</param>
/// <param name="CpuRanks">Whether they are ranks without GPU.</param>
/// <param name="Note">What the user should know about the choice; null when nothing.</param>
internal sealed record LocalSlots(HostSlots Host, bool CpuRanks, string? Note)
{
    /// <summary>Variable that says which devices a program may use, and in which order.</summary>
    public const string VisibleDevices = "CUDA_VISIBLE_DEVICES";

    private const string Name = "localhost";

    /// <summary>Chooses the slots.</summary>
    /// <remarks>
    /// The visible devices in their order, unless the user chooses devices by option: those count over all devices of
    /// the machine. Ranks without GPU: as many as <c>--num_gpus</c> says where the machine has none; one for
    /// <c>--num_gpus 0</c>. Never a rank on the processor because a GPU was not found and nobody asked.
    /// </remarks>
    /// <param name="options">The options.</param>
    /// <param name="visible">Value of <see cref="VisibleDevices"/>, or null.</param>
    /// <param name="deviceCount">Number of GPUs; asked only when needed.</param>
    /// <exception cref="ConfigException">There are no devices, or too few.</exception>
    public static LocalSlots Find(LaunchOptions options, string? visible, Func<int> deviceCount)
    {
        bool isChosen = options.Include.Length > 0 || options.Exclude.Length > 0 || options.Gpus > 0;
        string? note = isChosen && !string.IsNullOrEmpty(visible)
            ? $"{VisibleDevices}={visible} is not used: the options choose devices, counted over all of the machine" : null;
        if (options.Gpus == 0)
        {
            return Cpu(1, "--num_gpus 0: one rank on this machine's processors, without GPU");
        }

        if (!isChosen && !string.IsNullOrEmpty(visible) && Ids(visible) is { Count: > 0 } ids)
        {
            return new(new HostSlots(Name, ids), CpuRanks: false, null);
        }

        bool hidesAll = !isChosen && !string.IsNullOrEmpty(visible);
        int devices = hidesAll ? 0 : deviceCount();
        if (devices == 0)
        {
            return options.Gpus is { } ranks
                ? Cpu(ranks, $"no GPU on this machine: {ranks} {(ranks == 1 ? "rank" : "ranks")} on its processors")
                : throw Refusal.Option("--num_gpus", hidesAll ? $"{VisibleDevices}={visible} hides every GPU"
                    : "there is no GPU on this machine, and no hostfile that names others",
                    "give --num_gpus N for N ranks on this machine's processors, or --hostfile FILE");
        }

        return options.Gpus > devices ? throw TooFew(options.Gpus.Value, "this machine", devices)
            : new(HostSlots.Counting(Name, options.Gpus ?? devices), CpuRanks: false, note);

        LocalSlots Cpu(int count, string why) => new(HostSlots.Counting(Name, count), CpuRanks: true, why);
    }

    /// <summary>The problem of a host with too few slots.</summary>
    public static ConfigException TooFew(int wanted, string host, int slots) => Refusal.Option("--num_gpus",
        $"{wanted} GPUs are asked for, but there are only {slots} on {host}", $"use at most {slots}");

    // CUDA stops at the first -1.
    private static List<string> Ids(string visible)
    {
        List<string> ids = [.. visible.Split(',').Select(id => id.Trim()).TakeWhile(id => id != "-1")];
        return ids.Any(id => id.Length == 0) || ids.Distinct().Count() < ids.Count
            ? throw Refusal.Of("the environment", VisibleDevices, $"\"{visible}\" names a device twice, or none between commas",
                "write each device once, for example 0,1")
            : ids;
    }
}
