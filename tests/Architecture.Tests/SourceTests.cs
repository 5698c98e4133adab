using System.Text.RegularExpressions;
namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>Rules within a project, which no reference can express. Read from the text of the sources.</summary>
public sealed class SourceTests
{
    private const string Engine = "DeepSpeedSharp.Engine";

    [Fact]
    public void Namespaces_OfAllSources_BeginWithTheProduct()
    {
        IEnumerable<string> strangers = Repository.Sources()
            .Where(source => source.Lines.Any(line => line.StartsWith("namespace ", StringComparison.Ordinal)
                && !line.StartsWith("namespace DeepSpeedSharp.", StringComparison.Ordinal)))
            .Select(source => source.Path);

        Assert.Empty(strangers);
    }

    // Collectives know no optimizer, files know no schedule; DeepSpeedEngine alone knows all.
    [Theory]
    [InlineData("Native")]
    [InlineData("Data")]
    [InlineData("Precision", "Native")]
    [InlineData("Comm", "Native")]
    [InlineData("Optim", "Native", "Kernels")]
    [InlineData("ActivationCheckpointing", "Native")]
    [InlineData("Checkpoint", "Native", "Comm", "Data", "Optim", "Precision")]
    [InlineData("Zero", "Native", "Native.Disk", "Comm", "Optim", "Precision")]
    [InlineData("Kernels", "Native")]
    [InlineData("Observability", "Native")]
    public void Engine_Folder_UsesOnlyTheFoldersBelowIt(string folder, params string[] below)
    {
        var allowed = below.Append(folder).Select(name => $"{Engine}.{name}").ToHashSet();

        IEnumerable<string> strangers = Repository.Sources("Engine", folder).SelectMany(source => source.Lines
            .Select(line => line.Trim().TrimEnd(';').Split(' '))
            .Where(words => words[0] is "using" or "global" && words[^1].StartsWith($"{Engine}.", StringComparison.Ordinal)
                && !allowed.Contains(words[^1])
                && !words[^1].StartsWith($"{Engine}.{folder}.", StringComparison.Ordinal)) // its own subfolders
            .Select(words => $"{source.Path}: {words[^1]}"));

        Assert.Empty(strangers);
    }

    [Theory]
    [InlineData("Planning")]
    [InlineData("Resources")]
    public void Operator_PureFolder_NeverSeesAClient(string folder)
    {
        IEnumerable<string> strangers = Repository.Sources("Operator", folder)
            .Where(source => source.Lines.Any(line => Regex.IsMatch(line, @"\bIKubernetes\b")
                || line.Contains("HttpClient", StringComparison.Ordinal)))
            .Select(source => source.Path);

        Assert.Empty(strangers);
    }
}
