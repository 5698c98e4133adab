using System.Reflection;

namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>The packages' public API, kept as text, so that a change of it shows in review.</summary>
/// <remarks><c>REWRITE_GOLDEN=1 dotnet test tests/Architecture.Tests</c> writes the files anew.</remarks>
public sealed class PublicApiTests
{
    [Theory]
    [InlineData("DeepSpeedSharp.Checkpoints")]
    [InlineData("DeepSpeedSharp.Config")]
    [InlineData("DeepSpeedSharp.Engine")]
    public void PublicApi_OfAPackage_IsTheApprovedOne(string assembly)
    {
        string actual = ApiText.Of(Assembly.Load(assembly));

        string approved = Path.Combine(Repository.Root, "tests", "Architecture.Tests", "api", $"{assembly}.txt");
        if (Environment.GetEnvironmentVariable("REWRITE_GOLDEN") == "1")
        {
            File.WriteAllText(approved, actual);
        }

        string[] before = File.Exists(approved) ? File.ReadAllLines(approved) : [];
        string[] after = actual.Split('\n')[..^1];
        string[] changes = [.. before.Except(after).Select(line => $"- {line}"), .. after.Except(before).Select(line => $"+ {line}")];
        Assert.True(changes.Length == 0, $"the public API of {assembly} changed; if that is meant, run "
            + $"REWRITE_GOLDEN=1 dotnet test tests/Architecture.Tests\n{string.Join('\n', changes)}");
        Assert.Equal(before, after);
    }
}
