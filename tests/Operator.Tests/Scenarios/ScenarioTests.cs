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
        HashSet<string> tests = [.. TestsIn("")];

        Assert.All(ScenarioTable.All.SelectMany(s => s.Tests), test => Assert.Contains(test, tests));
    }

    [Fact]
    public void EveryScenario_ThatApplies_RunsOnARealServer()
    {
        HashSet<string> tests = [.. TestsIn("Operator.Server.Tests"), .. TestsIn("Operator.Cluster.Tests")];

        Assert.All(ScenarioTable.All.Where(s => s.NotApplicable is null), s => Assert.True(s.Tests.Any(tests.Contains),
            $"scenario {s.Number} needs a test on a real API server"));
    }

    [Fact]
    public void EveryScenarioOnTheServer_IsInTheTable()
    {
        HashSet<string> known = [.. ScenarioTable.All.SelectMany(s => s.Tests)];

        Assert.All(TestsIn(Path.Combine("Operator.Server.Tests", "Scenarios")), test => Assert.Contains(test, known));
    }

    private static IEnumerable<string> TestsIn(string folder) =>
        Directory.EnumerateFiles(RepositoryFiles.Path("tests", folder), "*.cs", SearchOption.AllDirectories).SelectMany(TestsOf);

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
