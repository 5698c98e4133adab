namespace DeepSpeedSharp.Launcher.Tests;

public sealed class VariableExpansionTests
{
    private static readonly Dictionary<string, string> Variables = new()
    {
        ["A"] = "one",
        ["B"] = "$(A)",
        ["EMPTY"] = "",
    };

    // The rows are those of Kubernetes' own table of expansions.
    [Theory]
    [InlineData("", "")]
    [InlineData("plain", "plain")]
    [InlineData("$(A)", "one")]
    [InlineData("x$(A)y$(A)z", "xoneyonez")]
    [InlineData("$(B)", "$(A)")]
    [InlineData("[$(EMPTY)]", "[]")]
    [InlineData("$(UNKNOWN)", "$(UNKNOWN)")]
    [InlineData("$()", "$()")]
    [InlineData("$$", "$")]
    [InlineData("$$$$", "$$")]
    [InlineData("$$(A)", "$(A)")]
    [InlineData("$$$(A)", "$one")]
    [InlineData("$$$$(A)", "$$(A)")]
    [InlineData("$A", "$A")]
    [InlineData("${A}", "${A}")]
    [InlineData("$(A", "$(A")]
    [InlineData("$(A$(A)", "$(A$(A)")]
    [InlineData("$", "$")]
    [InlineData("end$", "end$")]
    [InlineData("a$(A)$", "aone$")]
    [InlineData("$\u00e4$(A)", "$\u00e4one")]
    public void Expand_Text_FollowsKubernetes(string text, string expected)
    {
        Assert.Equal(expected, VariableExpansion.Expand(text, Variables));
    }
}
