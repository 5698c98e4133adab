using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class NodeSnapshotTests
{
    private readonly ProcessClock _time = new(Some.Now);

    [Fact]
    public void Silence_ThatBeginsHere_IsMeasuredWhateverTheTimeOfDay()
    {
        NodeSnapshot answers = new NodeSnapshot("a", null).Following(null, _time);
        _time.Error = TimeSpan.FromHours(1);
        NodeSnapshot silent = new NodeSnapshot("a", Some.Now).Following(answers, _time);
        Assert.InRange(silent.SilenceNow(_time)!.Value.Length.TotalSeconds, 0, 1);

        _time.Advance(TimeSpan.FromSeconds(30));
        _time.Error = TimeSpan.FromHours(-1);
        NodeSnapshot later = new NodeSnapshot("a", Some.Now).Following(silent, _time);

        Assert.Equal((silent, Some.Now), (later, later.SilenceNow(_time)!.Value.Since));
        Assert.InRange(later.SilenceNow(_time)!.Value.Length.TotalSeconds, 30, 31);
    }

    [Fact]
    public void Silence_FromBeforeThisProcess_CountsFromItsBeginning()
    {
        NodeSnapshot silent = new NodeSnapshot("a", Some.Now.AddMinutes(-5)).Following(null, _time);
        _time.Advance(TimeSpan.FromSeconds(7));

        Assert.Equal(307, silent.SilenceNow(_time)!.Value.Length.TotalSeconds);
    }

    [Fact]
    public void Silence_ThatBeganAnew_BeginsAtZero()
    {
        NodeSnapshot first = new NodeSnapshot("a", Some.Now.AddMinutes(-5)).Following(null, _time);
        NodeSnapshot second = new NodeSnapshot("a", Some.Now).Following(first, _time);

        Assert.Equal(0, second.SilenceNow(_time)!.Value.Length.TotalSeconds);
        Assert.Null(new NodeSnapshot("a", null).Following(second, _time).SilenceNow(_time));
    }

    [Fact]
    public void Silence_ThatIsToBeginLater_IsNone() =>
        Assert.Equal(0, new NodeSnapshot("a", Some.Now.AddHours(1)).Following(null, _time).SilenceNow(_time)!.Value.Length.TotalSeconds);
}
