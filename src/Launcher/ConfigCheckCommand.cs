using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed config check</c>: checks a DeepSpeed JSON config without training.</summary>
internal static class ConfigCheckCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "The DeepSpeed JSON config." };
        UsageError.RefuseOptions(file);
        var worldSize = new Option<int>("--world-size")
        {
            Description = "Number of ranks to check the batch sizes for.",
            HelpName = "N",
            Required = true,
            CustomParser = ReadWorldSize,
        };
        var parameters = new Option<long?>("--parameters")
        {
            Description = "Parameters of the model, such as 124M or 7B: adds an estimate of the memory of a rank.",
            HelpName = "N",
            CustomParser = ReadParameters,
        };
        var length = new Option<int>("--sequence-length")
        {
            Description = "Tokens of a sample, for the memory of activations.",
            HelpName = "N",
            DefaultValueFactory = _ => 1024,
        };
        length.Validators.Add(r => { if (r.GetValueOrDefault<int>() < 1) { r.AddError("--sequence-length must be at least 1"); } });
        var recompute = new Option<bool>("--gradient-checkpointing") { Description = "Layers are computed again in backward: less memory for activations." };
        var json = new Option<bool>("--json") { Description = "Print the report as JSON." };
        var command = new Command("check", "Check a config and show it with every default and derived value filled in.")
        {
            file, worldSize, parameters, length, recompute, json,
        };
        command.SetAction(parsed => Check(parsed.GetValue(file)!, parsed.GetValue(worldSize), parsed.GetValue(json), report =>
            parsed.GetValue(parameters) is { } count && report is { Config: { } config, Batch: { } batch } ? MemoryEstimate.For(config, count,
                parsed.GetValue(worldSize), (long)parsed.GetValue(length) * batch.MicroBatchSize, parsed.GetValue(recompute)) : null));
        return command;
    }

    private static long? ReadParameters(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (ParameterCount.Parse(text) is { } count)
        {
            return count;
        }

        result.AddError($"--parameters {text} is not a number of parameters; write for example 124M or 7B");
        return null;
    }

    /// <summary>Reads the value of <c>--world-size</c>.</summary>
    public static int ReadWorldSize(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int worldSize) && worldSize > 0)
        {
            return worldSize;
        }

        result.AddError($"--world-size {text} is not a number of ranks; use a whole number of at least 1");
        return 0;
    }

    private static int Check(string file, int worldSize, bool json, Func<ConfigReport, MemoryEstimate?> estimate)
    {
        ConfigReport report = Read(file, worldSize);
        MemoryEstimate? memory = estimate(report);
        if (json)
        {
            Console.Out.WriteLine(report.ToJson(memory));
        }
        else
        {
            ConfigText.Write(report, file, worldSize, report.IsValid ? Console.Out : Console.Error);
            foreach (string line in memory is null ? [] : MemoryText.Lines(memory))
            {
                Console.Out.WriteLine(line);
            }
        }

        return report.IsValid ? ExitCodes.Done : ExitCodes.Configuration;
    }

    private static ConfigReport Read(string file, int worldSize)
    {
        try
        {
            return ConfigReport.For(File.ReadAllText(file), worldSize);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new ConfigReport(null, null, [new ConfigError("$", $"the file cannot be read: {e.Message}",
                "give the path of a DeepSpeed JSON config")]);
        }
    }
}
