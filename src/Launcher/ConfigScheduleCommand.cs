using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed config schedule</c>: shows the learning rate of every optimizer step without training.</summary>
internal static class ConfigScheduleCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "The DeepSpeed JSON config." };
        UsageError.RefuseOptions(file);
        var steps = new Option<int>("--steps")
        {
            Description = "Number of optimizer steps to show.",
            HelpName = "N",
            Required = true,
            CustomParser = ReadSteps,
        };
        var json = new Option<bool>("--json")
        {
            Description = "Print one JSON object per optimizer step: the rate of each parameter group after it.",
        };
        var command = new Command("schedule", "Draw the learning rate over the optimizer steps.") { file, steps, json };
        command.SetAction(parsed => Show(
            parsed.GetValue(file)!, parsed.GetValue(steps), parsed.GetValue(json), Console.Out, Console.Error));
        return command;
    }

    /// <summary>Runs the command.</summary>
    /// <param name="file">Path of the config.</param>
    /// <param name="steps">Optimizer steps, at least 1.</param>
    /// <param name="json">Whether to print JSON lines.</param>
    /// <param name="output">Where the rates go, and problems as JSON.</param>
    /// <param name="error">Where problems go as text.</param>
    /// <returns>The exit code.</returns>
    internal static int Show(string file, int steps, bool json, TextWriter output, TextWriter error)
    {
        var errors = new ConfigErrors();
        if (Read(file, errors) is not { } preview)
        {
            WriteProblems(file, errors.All, json, output, error);
            return ExitCodes.Configuration;
        }

        if (preview.Warning is { } warning)
        {
            error.WriteLine(warning);
        }

        if (json)
        {
            preview.WriteJson(steps, output);
        }
        else
        {
            ScheduleText.Write(preview, file, steps, output);
        }

        return ExitCodes.Done;
    }

    // Null when there is a problem. How many ranks there will be does not matter here, so the batch sizes are not checked.
    private static SchedulePreview? Read(string file, ConfigErrors errors)
    {
        try
        {
            DeepSpeedConfig config = DeepSpeedConfig.Read(File.ReadAllText(file), errors);
            return errors.Any ? null : SchedulePreview.For(config, errors);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            errors.Add("$", $"the file cannot be read: {e.Message}", "give the path of a DeepSpeed JSON config");
            return null;
        }
    }

    private static void WriteProblems(
        string file, IReadOnlyList<ConfigError> errors, bool json, TextWriter output, TextWriter error)
    {
        if (json)
        {
            output.WriteLine(new ConfigReport(null, null, errors).ToJson());
            return;
        }

        error.WriteLine($"{file} has {(errors.Count == 1 ? "a problem" : $"{errors.Count} problems")}:");
        foreach (ConfigError problem in errors)
        {
            error.WriteLine($"  {problem.Path}");
            error.WriteLine($"    {problem.Problem}");
            error.WriteLine($"    -> {problem.Fix}");
        }
    }

    private static int ReadSteps(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int steps) && steps > 0)
        {
            return steps;
        }

        result.AddError($"--steps {text} is not a number of optimizer steps; use a whole number of at least 1");
        return 0;
    }
}
