namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The help of the whole program: the two forms of its command line, every option, every command.</summary>
internal static class LaunchHelp
{
    private const int Width = 34;

    /// <summary>Writes it.</summary>
    /// <param name="output">Where to.</param>
    public static void Write(TextWriter output)
    {
        output.WriteLine("""
            DeepSpeedSharp: distributed training for .NET

            Usage:
              deepspeed [options] PROGRAM [arguments]   start a training program, one process for each rank
              deepspeed COMMAND ...                     see below

            PROGRAM is the first word that is no option: a .NET assembly (.dll), a Python script (.py) or an executable.
            Every word after it is the program's own. Ranks find RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and
            MASTER_PORT in their environment.

            Examples:
              deepspeed train.dll --deepspeed_config ds_config.json             all GPUs of this machine
              deepspeed --num_gpus 2 train.py --deepspeed_config ds.json        two ranks
              deepspeed --include localhost:1,3 train.dll                       two GPUs by number
              deepspeed --hostfile hosts --exclude worker-2:0 train.dll         many hosts
              deepspeed plan --hostfile hosts train.dll                         print the plan, start nothing
            """);
        foreach (IGrouping<string, LaunchOption> group in LaunchOption.All.Where(o => o.Group.Length > 0).GroupBy(o => o.Group))
        {
            output.WriteLine($"\n{group.Key}:");
            foreach (LaunchOption option in group)
            {
                string value = option.ValueName is null ? "" : $" {option.ValueName}";
                Row(output, string.Join(", ", option.Names) + value, option.Help);
            }
        }

        output.WriteLine("\nCommands (`deepspeed COMMAND --help` explains each):");
        Row(output, CommandTable.Plan, "Print what a start would do: the same as --dry_run. Add --json for programs.");
        foreach (CommandEntry command in CommandTable.All)
        {
            Row(output, command.Name, command.Description);
        }
    }

    private static void Row(TextWriter output, string left, string right) => output.WriteLine(
        left.Length <= Width ? $"  {left.PadRight(Width)}  {right}" : $"  {left}\n  {new string(' ', Width)}  {right}");
}
