using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Worker;
using DeepSpeedSharp.Worker.Bench;

StopSignals.Listen();
var root = new RootCommand("The worker of DeepSpeedSharp: trains as one rank, or starts one process per slot of its node.")
{
    TrainCommand.Create(options => Worker.Run(args, options)),
    BenchCommCommand.Create(Worker.RunRank),
    LocalRankOption.Create(Environment.GetEnvironmentVariable("LOCAL_RANK")),
};
ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (System.CommandLine.Parsing.ParseError error in parsed.Errors)
    {
        Console.Error.WriteLine(error.Message);
    }

    Console.Error.WriteLine("See deepspeed-worker train --help.");
    TerminationMessage.Write("usage", retryable: false, parsed.Errors[0].Message);
    return ExitCodes.Usage;
}

return parsed.Invoke();
