using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Tests.Images;

/// <summary>What all images of the Dockerfile have, and what none has.</summary>
public sealed partial class DockerfileTests
{
    private static readonly Dictionary<string, Stage> Stages = Read();

    public static TheoryData<string> Targets() => ["operator", "worker", "worker-cuda", "worker-base", "worker-base-cuda"];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Image_HasAUserThatIsNotRoot_AnEntryPointAndLabels(string target)
    {
        string[] lines = [.. Lines(target)];

        Assert.Matches(@"^USER (\d{4,}):\1$", lines.Last(l => l.StartsWith("USER", StringComparison.Ordinal)));
        Assert.Contains(lines, l => l.StartsWith("ENTRYPOINT [\"/", StringComparison.Ordinal));
        foreach (string label in new[] { "title", "description", "vendor", "licenses", "version", "revision" })
        {
            Assert.Contains(lines, l => l.Contains($"org.opencontainers.image.{label}=", StringComparison.Ordinal));
        }
    }

    [Theory]
    [MemberData(nameof(Targets))]
    public void Image_HasOneBackendAtMost_AndRunsNothingToBeMade(string target)
    {
        string[] lines = [.. Lines(target)];

        Assert.InRange(lines.SelectMany(l => Backend().Matches(l).Select(m => m.Value)).Distinct().Count(), target == "operator" ? 0 : 1, target == "operator" ? 0 : 1);
        Assert.DoesNotContain(lines, l => l.StartsWith("RUN", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("worker")]
    [InlineData("worker-cuda")]
    [InlineData("worker-base")]
    [InlineData("worker-base-cuda")]
    public void Worker_HasAnInitAsItsFirstProcess(string target) =>
        Assert.StartsWith("ENTRYPOINT [\"/sbin/tini\", \"--\"", Lines(target).Last(l => l.StartsWith("ENTRYPOINT", StringComparison.Ordinal)));

    // Of a stage and of those it builds on, the first ones first.
    private static IEnumerable<string> Lines(string stage) => Stages.TryGetValue(stage, out Stage? found) ? [.. Lines(found.Base), .. found.Lines] : [];

    private static Dictionary<string, Stage> Read()
    {
        string text = File.ReadAllText(RepositoryFiles.Path("Dockerfile")).Replace("\\\n", " ", StringComparison.Ordinal);
        var stages = new Dictionary<string, Stage>();
        Stage? current = null;
        foreach (string line in text.Split('\n').Where(l => l.Length > 0 && l[0] != '#'))
        {
            if (From().Match(line) is { Success: true } from)
            {
                stages[from.Groups[2].Value] = current = new Stage(from.Groups[1].Value, []);
            }
            else
            {
                current?.Lines.Add(line);
            }
        }

        return stages;
    }

    private sealed record Stage(string Base, List<string> Lines);

    [GeneratedRegex(@"^FROM (\S+) AS (\S+)$")]
    private static partial Regex From();

    [GeneratedRegex("build-(?:cpu|cuda)")]
    private static partial Regex Backend();
}
