using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Commands;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>Tests that change the environment of this process run alone.</summary>
[CollectionDefinition(nameof(EnvironmentTests), DisableParallelization = true)]
[Collection(nameof(EnvironmentTests))]
public sealed class EnvironmentTests
{
    [Fact]
    public void Option_CountsMoreThanItsVariable()
    {
        OperatorOptions options = Read(new() { ["WORKERS"] = "3", ["WATCH_NAMESPACES"] = "a, b,,a" }, "--workers", "5");

        Assert.Equal(5, options.Workers);
        Assert.Equal(["a", "b"], options.Namespaces);
        Assert.Null(options.Leader);
        options.Check();
    }

    [Theory]
    [InlineData("WORKERS", "many", "WORKERS: \"many\" is not a whole number")]
    [InlineData("LEASE_DURATION", "15", "LEASE_DURATION: \"15\" is not a time; use for example 15s or 1m30s")]
    [InlineData("LOG_FORMAT", "xml", "LOG_FORMAT: \"xml\" is not what --log-format takes; see --help")]
    [InlineData("LEADER_ELECT", "maybe", "LEADER_ELECT: \"maybe\" is not true or false")]
    public void Variable_ThatMakesNoSense_IsNamed(string name, string value, string message) => With(new() { [name] = value }, () =>
    {
        Assert.Contains(message, RunCommand.Create().Parse([]).Errors.Select(e => e.Message));
        return 0;
    });

    [Fact]
    public void Values_ThatDoNotGoTogether_AreReportedAllAtOnce()
    {
        OperatorOptions options = Read([], "--secure-metrics=true", "--workers=0", "--leader-elect=true", "--renew-deadline=15s",
            "--default-shm-size=lots", "--default-node-loss=0");

        var problems = Assert.Throws<ConfigException>(options.Check);

        Assert.Equal(
        [
            "--workers", "--health-port", "--renew-deadline", "defaults.spec.restart.nodeLossSeconds", "defaults.spec.shm.sizeLimit",
        ], problems.Errors.Select(e => e.Path));
    }

    [Theory]
    [InlineData("15s", 15)]
    [InlineData("1m30s", 90)]
    [InlineData("1h0.5s", 3600.5)]
    [InlineData("250ms", 0.25)]
    public void Duration_IsReadAsKubernetesWritesIt(string text, double seconds) => Assert.Equal(seconds, Variables.Duration(text).TotalSeconds, 6);

    /// <summary>Does something with other environment variables.</summary>
    internal static T With<T>(Dictionary<string, string> variables, Func<T> action)
    {
        Dictionary<string, string?> before = variables.Keys.ToDictionary(k => k, Environment.GetEnvironmentVariable);
        try
        {
            foreach ((string name, string value) in variables)
            {
                Environment.SetEnvironmentVariable(name, value);
            }

            return action();
        }
        finally
        {
            foreach ((string name, string? value) in before)
            {
                Environment.SetEnvironmentVariable(name, value);
            }
        }
    }

    private static OperatorOptions Read(Dictionary<string, string> variables, params string[] arguments) => With(variables, () =>
    {
        ParseResult result = RunCommand.Create().Parse(arguments);
        Assert.Empty(result.Errors);
        return RunCommand.Read(result);
    });
}
