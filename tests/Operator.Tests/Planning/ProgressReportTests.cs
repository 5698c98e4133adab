using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Progress;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class ProgressReportTests
{
    private const string Report = """
        {"step":120,"totalSteps":300,"loss":2.11349,"learningRate":0.001,"tokensPerSecond":812345.6,"etaSeconds":90.4,
         "lastCheckpointStep":100,"lastCheckpointTime":"2026-01-02T11:00:00.1234+00:00","attempt":2}
        """;

    [Fact]
    public void Onto_NothingKnown_FillsTheStatus() => Assert.Equal(
        new JobProgress
        {
            Step = 120,
            TotalSteps = 300,
            Percent = 40,
            Loss = "2.1135",
            TokensPerSecond = 812346,
            EtaSeconds = 90,
            LastCheckpointStep = 100,
            LastCheckpointTime = new DateTimeOffset(2026, 1, 2, 11, 0, 0, TimeSpan.Zero),
            UpdatedTime = Some.Now,
        },
        ProgressReport.Parse(Report)!.Onto(null, Some.Now));

    [Fact]
    public void Onto_SameStep_ChangesNothing()
    {
        JobProgress before = ProgressReport.Parse(Report)!.Onto(null, Some.Now);

        Assert.Same(before, ProgressReport.Parse(Report.Replace("812345.6", "9"))!.Onto(before, Some.Now.AddMinutes(1)));
    }

    [Fact]
    public void Onto_StepAfterARestart_GoesBack()
    {
        JobProgress before = ProgressReport.Parse(Report)!.Onto(null, Some.Now);

        Assert.Equal(101, ProgressReport.Parse("""{"step":101}""")!.Onto(before, Some.Now).Step);
    }

    [Theory]
    [InlineData("NaN", "NaN")]
    [InlineData("\"NaN\"", "NaN")]
    [InlineData("\"Infinity\"", "Infinity")]
    [InlineData("null", null)]
    [InlineData("1e30", "1000000000000000000000000000000")]
    public void Loss_OfAnyKind_IsTextOrNothing(string json, string? text)
    {
        ProgressReport? report = ProgressReport.Parse($$"""{"step":1,"loss":{{json}}}""");

        // NaN without quotes is not JSON; such a report is no report.
        Assert.Equal(json == "NaN" ? null : text, report?.Onto(null, Some.Now).Loss);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("Traceback (most recent call last):")]
    [InlineData("[1]")]
    [InlineData("""{"step":"many"}""")]
    public void Parse_AnythingElse_IsNothing(string? text) => Assert.Null(ProgressReport.Parse(text));

    [Fact]
    public void Parse_TooLong_IsNothing() => Assert.Null(ProgressReport.Parse($$"""{"step":1,"x":"{{new string('x', 5000)}}"}"""));
}
