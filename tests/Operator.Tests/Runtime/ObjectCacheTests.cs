using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class ObjectCacheTests
{
    private readonly ObjectCache<string> _cache = new(v => v.Split(':')[0]);
    private readonly List<(string?, string?)> _changes = [];

    public ObjectCacheTests() => _cache.Changed += (before, after) => _changes.Add((before, after));

    [Fact]
    public void OlderEvent_AfterOurOwnWrite_IsDropped()
    {
        _cache.Put("ns/a", "12", "o:new");
        _cache.Put("ns/a", "11", "o:old");

        Assert.Equal("o:new", _cache.Get("ns/a"));
        Assert.Single(_changes);
    }

    [Fact]
    public void LateAnswer_AfterRemoval_DoesNotBringTheObjectBack()
    {
        _cache.Put("ns/a", "10", "o:1");
        _cache.Remove("ns/a", "13");
        _cache.Put("ns/a", "12", "o:2");
        Assert.Null(_cache.Get("ns/a"));

        _cache.Put("ns/a", "14", "o:3");
        Assert.Equal("o:3", _cache.Get("ns/a"));
    }

    [Fact]
    public void LateAnswer_AfterAListWithoutTheObject_DoesNotBringItBack()
    {
        _cache.Put("ns/a", "10", "o:1");
        _cache.Replace(List(), "13");
        _cache.Put("ns/a", "12", "o:2");
        Assert.Null(_cache.Get("ns/a"));

        _cache.Put("ns/a", "14", "o:3");
        Assert.Equal("o:3", _cache.Get("ns/a"));
    }

    [Fact]
    public void Removal_OlderThanANewObjectOfThatName_IsDropped()
    {
        _cache.Put("ns/a", "20", "o:2");
        _cache.Remove("ns/a", "15");

        Assert.Equal("o:2", _cache.Get("ns/a"));
    }

    [Fact]
    public void List_ReplacesAll_ButNotWhatIsNewer()
    {
        _cache.Put("ns/gone", "5", "o:gone");
        _cache.Put("ns/kept", "5", "o:kept");
        _cache.Put("ns/created", "12", "p:created");
        _cache.Put("ns/written", "11", "o:written");
        _changes.Clear();

        _cache.Replace(List(("ns/kept", "5", "o:kept"), ("ns/written", "9", "o:before"), ("ns/new", "8", "p:new")), "10");

        Assert.Equal(["o:kept", "o:written", "p:created", "p:new"], _cache.All().Order());
        Assert.Equal(["p:created", "p:new"], _cache.Group("p").Order());
        Assert.Equal([("o:gone", null), (null, "p:new")], _changes);
    }

    [Fact]
    public void List_OfARestoredCluster_IsTheOnlyTruth()
    {
        _cache.Put("ns/a", "1000", "o:future");
        _cache.Put("ns/b", "1001", "o:never");

        _cache.Replace(List(("ns/a", "7", "o:past")), "9", restored: true);

        Assert.Equal(["o:past"], _cache.All());
    }

    [Fact]
    public void Group_FollowsItsObjects()
    {
        _cache.Put("ns/a", "1", "o:1");
        _cache.Put("ns/a", "2", "p:1");

        Assert.Empty(_cache.Group("o"));
        Assert.Equal(["p:1"], _cache.Group("p"));
    }

    private static Dictionary<string, Cached<string>> List(params (string Key, string Version, string Value)[] items) =>
        items.ToDictionary(i => i.Key, i => new Cached<string>(i.Version, i.Value));
}
