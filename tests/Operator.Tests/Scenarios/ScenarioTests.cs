using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Tests.Scenarios;

public sealed partial class ScenarioTests
{
    [Fact]
    public void EveryScenario_HasATestOrAReason()
    {
        Assert.Equal(Enumerable.Range(1, 68), ScenarioTable.All.Select(s => s.Number));
        Assert.All(ScenarioTable.All, s => Assert.True(s.NotApplicable is not null != s.Tests.Length > 0, $"scenario {s.Number} needs a test, or a reason"));
    }

    [Fact]
    public void EveryTestOfTheTable_Exists()
    {
        HashSet<string> tests = [.. Directory.EnumerateFiles(RepositoryFiles.Path("tests"), "*.cs", SearchOption.AllDirectories).SelectMany(TestsOf)];

        Assert.All(ScenarioTable.All.SelectMany(s => s.Tests), test => Assert.Contains(test, tests));
    }

    // Tests of other programs are known by their text: those of the real cluster run elsewhere.
    private static IEnumerable<string> TestsOf(string file)
    {
        string text = File.ReadAllText(file);
        return Class().Match(text) is { Success: true } type
            ? Method().Matches(text).Select(m => $"{type.Groups[1].Value}.{m.Groups[1].Value}") : [];
    }

    [GeneratedRegex(@"public sealed (?:partial )?class (\w+)")]
    private static partial Regex Class();

    [GeneratedRegex(@"public (?:async )?(?:Task|void) (\w+)\(")]
    private static partial Regex Method();
}
