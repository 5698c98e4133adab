using System.Text;
using System.Text.Json;

namespace DeepSpeedSharp.Launcher.Tests;

public sealed class ConfigScheduleTests
{
    private const string OneCycle = """
        { "optimizer": { "type": "Adam", "params": { "lr": 3e-4 } }, "train_batch_size": 8,
          "scheduler": { "type": "OneCycle", "params": { "cycle_min_lr": 0.1, "cycle_max_lr": 1, "cycle_first_step_size": 4 } } }
        """;

    [Fact]
    public void Json_Warmup_GivesTheValueAfterEachStep()
    {
        (int exitCode, string output, string error) = Run("""
            { "optimizer": { "type": "AdamW", "params": { "lr": 0.4 } }, "train_batch_size": 8,
              "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 4, "warmup_type": "linear" } } }
            """, 6, json: true);

        JsonElement[] lines = [.. output.Trim().Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Equal(Enumerable.Range(1, 6), lines.Select(line => line.GetProperty("step").GetInt32()));
        Assert.Equal([0, 0.1, 0.2, 0.3, 0.4, 0.4], lines.Select(line => Assert.Single(line.GetProperty("lr").EnumerateArray().ToArray()).GetDouble()), Close);
        Assert.All(lines, line => Assert.Equal(2, line.EnumerateObject().Count()));
    }

    [Theory]
    [InlineData("""{ "train_batch_size": 8, "optimizer": { "type": "AdamW", "params": { "lr": 2e-5 } } }""", 2e-5)]
    [InlineData("""{ "train_batch_size": 8, "optimizer": { "type": "Muon", "params": { "muon_lr": 0.5 } } }""", 0.5, 3e-4)]
    [InlineData("""{ "train_batch_size": 8, "scheduler": { "type": "LRRangeTest", "params": { "lr_range_test_min_lr": [1, 2, 3], "lr_range_test_step_size": 1 } } }""", 2.0, 4.0, 6.0)]
    public void Json_Groups_HaveARateEach(string config, params double[] expected)
    {
        (_, string output, _) = Run(config, 1, json: true);

        Assert.Equal(expected, JsonDocument.Parse(output).RootElement.GetProperty("lr").EnumerateArray().Select(e => e.GetDouble()), Close);
    }

    [Fact]
    public void Json_CyclingMomentum_IsThereToo()
    {
        (_, string output, _) = Run(OneCycle, 1, json: true);

        Assert.Equal("""{"step":1,"lr":[0.325],"betas":[[0.875,0.99]]}""", output.Trim());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(500)]
    public void Text_OneCycle_DrawsRateAndMomentumIn80Columns(int steps)
    {
        (int exitCode, string output, _) = Run(OneCycle, steps, json: false);

        string[] lines = output.Split('\n');
        Assert.Equal(0, exitCode);
        Assert.All(lines, line => Assert.InRange(line.Length, 0, 80));
        Assert.Contains(lines, line => line.EndsWith(steps == 1 ? "a.json: OneCycle, 1 optimizer step" : $"a.json: OneCycle, {steps} optimizer steps", StringComparison.Ordinal));
        Assert.Contains("learning rate", lines);
        Assert.Contains("momentum (first beta)", lines);
        Assert.Equal(2, lines.Count(line => line.Contains('└')));
        Assert.DoesNotContain('\u001b', output);
    }

    [Fact]
    public void Text_LinearWarmup_LooksLikeAStaircase()
    {
        (_, string output, _) = Run("""
            { "optimizer": { "type": "AdamW", "params": { "lr": 3e-4 } }, "train_batch_size": 8,
              "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 2, "warmup_type": "linear" } } }
            """, 3, json: false);

        string[] chart = output.Split('\n')[4..];
        Assert.Equal("   0.0003 ┤" + new string(' ', 46) + new string('█', 23), chart[0]);
        Assert.Equal("          │" + new string(' ', 23) + new string('█', 46), chart[6]);
        Assert.Equal("        0 ┤" + new string('▁', 23) + new string('█', 46), chart[9]);
        Assert.Equal("           1" + new string(' ', 33) + "2" + new string(' ', 33) + "3", chart[11]);
    }

    [Fact]
    public void Text_TerminalWithoutBlockCharacters_GetsPlainOnes()
    {
        using var stream = new MemoryStream();
        using var output = new StreamWriter(stream, Encoding.ASCII);

        Run(OneCycle, 50, json: false, output);
        output.Flush();

        string text = Encoding.ASCII.GetString(stream.ToArray());
        Assert.DoesNotContain('?', text);
        Assert.Contains("+#", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BadConfig_SaysEveryProblemAndWhatToDo(bool json)
    {
        (int exitCode, string output, string error) = Run(
            """{ "scheduler": { "type": "OneCycle", "params": { "cycle_min_lr": 1 } }, "gradient_cliping": 1 }""", 5, json);

        Assert.Equal(78, exitCode);
        Assert.Equal(json, error.Length == 0);
        string text = json ? output : error;
        Assert.Contains("scheduler.params.cycle_max_lr", text, StringComparison.Ordinal);
        Assert.Contains("gradient_clipping", text, StringComparison.Ordinal);
        Assert.Equal(json, text.StartsWith('{'));
    }

    [Theory]
    [InlineData("""{ "train_batch_size": 8 }""", "the learning rate is not known")]
    [InlineData("""{ "train_batch_size": 8, "scheduler": { "type": "WarmupLR" } }""", "warmup_max_lr")]
    [InlineData("""{ "train_batch_size": 8, "scheduler": { "type": "WarmupDecayLR", "params": { "total_num_steps": 5, "warmup_min_lr": [0, 0], "warmup_max_lr": [1, 1, 1] } } }""", "3 parameter groups")]
    public void RatesUnknown_SaysWhatIsMissing(string config, string expected)
    {
        (int exitCode, string output, string error) = Run(config, 5, json: false);

        Assert.Equal((78, ""), (exitCode, output));
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.DoesNotContain("$.", error, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingFile_IsAConfigProblem()
    {
        using var error = new StringWriter();

        Assert.Equal(78, ConfigScheduleCommand.Show("/nowhere/a.json", 5, json: false, TextWriter.Null, error));
        Assert.Contains("the file cannot be read", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void MomentumWithoutBetas_IsSaidOnStandardError()
    {
        (int exitCode, string output, string error) = Run(OneCycle.Replace("\"Adam\"", "\"SGD\"", StringComparison.Ordinal), 2, json: true);

        Assert.Equal(0, exitCode);
        Assert.DoesNotContain("betas", output, StringComparison.Ordinal);
        Assert.Contains("cycle_momentum", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0", "0 is not a number of optimizer steps")]
    [InlineData("many", "many is not a number of optimizer steps")]
    [InlineData("5", null)]
    public void Steps_NotAPositiveNumber_IsAUsageError(string steps, string? expected)
    {
        IEnumerable<string> errors = ConfigScheduleCommand.Create().Parse(["a.json", "--steps", steps]).Errors.Select(e => e.Message);

        Assert.Equal(expected is not null, errors.Any(e => expected is not null && e.Contains(expected, StringComparison.Ordinal)));
        Assert.Equal(expected is null, !errors.Any());
    }

    [Theory]
    [InlineData(0, "0")]
    [InlineData(0.0003, "0.0003")]
    [InlineData(0.00012250001, "0.0001225")]
    [InlineData(1.25e-5, "1.25e-5")]
    [InlineData(0.855749, "0.8557")]
    [InlineData(12, "12")]
    [InlineData(1e-300, "1e-300")]
    [InlineData(123456, "1.235e5")]
    public void Number_HasFourDigitsAndFitsTheAxis(double value, string expected)
    {
        Assert.Equal(expected, Chart.Number(value));
        Assert.InRange(Chart.Number(-value).Length, 1, 10);
    }

    private static (int ExitCode, string Output, string Error) Run(string config, int steps, bool json)
    {
        using var output = new StringWriter { NewLine = "\n" };
        (int exitCode, string error) = Run(config, steps, json, output);
        return (exitCode, output.ToString(), error);
    }

    private static (int ExitCode, string Error) Run(string config, int steps, bool json, TextWriter output)
    {
        using var folder = new JobFolder();
        folder.Write("a.json", config);
        using var error = new StringWriter { NewLine = "\n" };
        return (ConfigScheduleCommand.Show(Path.Combine(folder.Path, "a.json"), steps, json, output, error), error.ToString());
    }

    private static bool Close(double a, double b) => Math.Abs(a - b) <= 1e-12 * Math.Abs(b);
}
