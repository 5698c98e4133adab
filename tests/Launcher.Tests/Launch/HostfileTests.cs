using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

public sealed class HostfileTests
{
    public static TheoryData<int> Cases() => Vectors.Indices("hostfile");

    public static TheoryData<int> FilterCases() => Vectors.Indices("include_exclude");

    [Fact]
    public void Vectors_Files_HaveAllCases() => Assert.Equal((17, 33), (Cases().Count, FilterCases().Count));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Parse_Vector_AgreesWithDeepSpeed(int index)
    {
        JsonElement vector = Vectors.Read("hostfile")[index];
        JsonElement reference = vector.GetProperty("reference");
        string text = vector.GetProperty("hostfile").GetString()!;

        if (vector.TryGetProperty("recommended", out JsonElement recommended))
        {
            Assert.Equal("error: slots must be at least 1", recommended.GetString());
            ConfigException error = Assert.Throws<ConfigException>(() => Hostfile.Parse(text, "hostfile"));
            Assert.Contains("slots=0 is no number of ranks; use 1 to", error.Message, StringComparison.Ordinal);
        }
        else if (Vectors.ErrorKind(reference) is { } kind)
        {
            Vectors.Refuses(kind, () => Hostfile.Parse(text, "hostfile"));
        }
        else
        {
            Assert.Equal(
                reference.GetProperty("pool").EnumerateArray().Select(h => (h[0].GetString()!, h[1].GetInt32())),
                Hostfile.Parse(text, "hostfile").Select(h => (h.Host, h.Slots.Count)));
        }
    }

    [Fact]
    public void Parse_SeveralProblems_NamesAll()
    {
        ConfigException error = Assert.Throws<ConfigException>(
            () => Hostfile.Parse("a slots=1\nb\na slots=2\nc slots=99999999999\n", "/job/hostfile"));

        Assert.Equal(["line 2", "line 3", "line 4"], error.Errors.Select(e => e.Path));
        Assert.Contains("/job/hostfile has 3 problems", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(FilterCases))]
    public void Apply_Vector_AgreesWithTheDocumentation(int index)
    {
        JsonElement vector = Vectors.Read("include_exclude")[index];
        HostSlots[] pool = [.. vector.GetProperty("pool").EnumerateArray()
            .Select(h => HostSlots.Counting(h[0].GetString()!, h[1].GetInt32()))];
        JsonElement expected = vector.TryGetProperty("recommended", out JsonElement r) ? r : vector.GetProperty("documented");
        IReadOnlyList<HostSlots> Apply() => ResourceFilter.Apply(
            pool, vector.GetProperty("include").GetString()!, vector.GetProperty("exclude").GetString()!);

        if (Vectors.ErrorKind(expected) is { } kind)
        {
            Vectors.Refuses(kind, () => Apply());
        }
        else
        {
            Assert.Equal(Vectors.Hosts(expected.GetProperty("resources")), Vectors.Hosts(Apply()));
        }
    }

    [Fact]
    public void Apply_MisspeltHosts_NamesAllAndTheNearest()
    {
        ConfigException error = Assert.Throws<ConfigException>(
            () => ResourceFilter.Apply([HostSlots.Counting("worker-0", 2), HostSlots.Counting("worker-1", 2)], "worke-1@worker-0:5,x", ""));

        Assert.Equal(3, error.Errors.Count);
        Assert.Contains("did you mean worker-1?", error.Message, StringComparison.Ordinal);
        Assert.Contains("the host worker-0 has no slot 5; its slots are 0,1", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WorldInfo_RoundTrip_KeepsHostsSlotsAndOrder()
    {
        HostSlots[] hosts = [new("ü+/?>", ["3", "1"]), new("b", ["GPU-1a2b", "MIG-x"])];

        string text = WorldInfo.Encode(hosts);

        Assert.True(text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '='), text);
        Assert.Equal(Vectors.Hosts(hosts), Vectors.Hosts(WorldInfo.Decode(text)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("e30=")]
    [InlineData("***")]
    [InlineData("WzFd")]
    public void WorldInfo_Garbage_IsRefused(string text) => Assert.Throws<ConfigException>(() => WorldInfo.Decode(text));
}
