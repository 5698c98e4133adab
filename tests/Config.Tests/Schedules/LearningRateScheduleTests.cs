using System.Text.Json;
using DeepSpeedSharp.Config.Schedules;

namespace DeepSpeedSharp.Config.Tests.Schedules;

public sealed class LearningRateScheduleTests
{
    public static TheoryData<string> GoodCases => Names(isError: false);

    public static TheoryData<string> BadCases => Names(isError: true);

    [Theory]
    [MemberData(nameof(GoodCases))]
    public void Step_ReferenceCase_GivesTheSameValues(string name)
    {
        JsonElement c = Find(name);
        JsonElement expected = c.GetProperty("expected");
        LearningRateSchedule schedule = Create(c);

        Close(expected.GetProperty("lr_before_first_step"), schedule.Current);
        foreach (JsonElement row in expected.GetProperty("after_step").EnumerateArray())
        {
            // Some cases leave out rows.
            while (schedule.LastBatchIteration < row.GetProperty("last_batch_iteration").GetInt64())
            {
                schedule.Step();
            }

            Close(row.GetProperty("lr"), schedule.Current);
            Assert.Equal(schedule.Current, schedule.At(schedule.LastBatchIteration));
            if (row.TryGetProperty("betas", out JsonElement betas))
            {
                for (int group = 0; group < schedule.GroupCount; group++)
                {
                    Close(betas[group][0].GetDouble(), schedule.Current[group].Beta1!.Value);
                    Close(betas[group][1].GetDouble(), schedule.Current[group].Beta2!.Value);
                }
            }
            else
            {
                Assert.All(schedule.Current, value => Assert.Null(value.Beta1));
            }
        }
    }

    [Theory]
    [MemberData(nameof(BadCases))]
    public void Parse_ReferenceErrorCase_NamesTheSetting(string name)
    {
        JsonElement c = Find(name);

        var e = Assert.Throws<ConfigException>(() => Create(c));

        string path = Assert.Single(e.Errors).Path;
        Assert.StartsWith("scheduler.params.", path, StringComparison.Ordinal);
        Assert.Contains(path["scheduler.params.".Length..], c.GetProperty("params").EnumerateObject().Select(p => p.Name)
            .Append("total_num_steps").Append("cycle_min_lr").Append("cycle_max_lr"));
    }

    [Theory]
    [MemberData(nameof(GoodCases))]
    public void LastBatchIteration_Restored_PutsTheValueInForceAtOnce(string name)
    {
        JsonElement c = Find(name);
        (LearningRateSchedule whole, LearningRateSchedule resumed) = (Create(c), Create(c));
        for (int i = 0; i < 5; i++)
        {
            whole.Step();
        }

        resumed.LastBatchIteration = whole.LastBatchIteration;

        Assert.Equal(whole.Current, resumed.Current);
        whole.Step();
        resumed.Step();
        Assert.Equal(whole.Current, resumed.Current);
    }

    [Theory]
    [InlineData("WarmupLR", """{ "warmup_min_lr": [0, 0], "warmup_max_lr": [1, 2, 3] }""", "warmup_min_lr")]
    [InlineData("WarmupDecayLR", """{ "total_num_steps": 9, "warmup_max_lr": [1, 2] }""", "warmup_max_lr")]
    [InlineData("OneCycle", """{ "cycle_min_lr": [1, 2], "cycle_max_lr": [1, 2, 3, 4] }""", "cycle_min_lr", "cycle_max_lr")]
    [InlineData("LRRangeTest", """{ "lr_range_test_min_lr": [1, 2] }""", "lr_range_test_min_lr")]
    public void Create_ListOfAnotherLengthThanTheGroups_NamesEverySetting(string type, string parameters, params string[] keys)
    {
        ScheduleConfig config = Parse(type, parameters);
        double[] groups = [1, 1, 1];

        var e = Assert.Throws<ConfigException>(() => LearningRateSchedule.Create(config, groups, hasBetas: true));

        Assert.Equal(keys.Select(k => $"scheduler.params.{k}"), e.Errors.Select(error => error.Path));
        Assert.Contains("3 parameter groups; write one number for all groups, or a list of 3", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Create_ListPerGroup_GivesEachGroupItsOwn()
    {
        LearningRateSchedule schedule = LearningRateSchedule.Create(
            Parse("OneCycle", """{ "cycle_min_lr": [0.1, 0.2], "cycle_max_lr": 1, "cycle_first_step_size": 2 }"""), [1, 1], hasBetas: true);

        Assert.Equal([0.1, 0.2], schedule.Current.Select(v => v.LearningRate));
        Assert.Equal([1.0, 1.0], schedule.At(1).Select(v => v.LearningRate));
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void OneCycle_MomentumCyclesOnlyWithBetas_AndSaysSo(bool cycles, bool hasBetas)
    {
        ScheduleConfig config = Parse("OneCycle",
            $$"""{ "cycle_min_lr": 0.1, "cycle_max_lr": 1, "cycle_momentum": {{(cycles ? "true" : "false")}} }""");

        LearningRateSchedule schedule = LearningRateSchedule.Create(config, [1], hasBetas);

        Assert.Equal(cycles && hasBetas ? 0.8 : null, schedule.Current[0].Beta1);
        Assert.Equal(cycles && hasBetas ? 0.99 : null, schedule.Current[0].Beta2);
        Assert.Equal(cycles && !hasBetas, schedule.Warning is not null);
    }

    [Fact]
    public void LastBatchIteration_BelowTheStart_IsRefused()
    {
        LearningRateSchedule schedule = LearningRateSchedule.Create(Parse("WarmupLR", "{}"), [1], hasBetas: true);

        Assert.Throws<ArgumentOutOfRangeException>(() => schedule.LastBatchIteration = -2);
        Assert.Throws<ArgumentOutOfRangeException>(() => schedule.At(-2));
    }

    // The reference's second group has twice the learning rate of the first.
    private static LearningRateSchedule Create(JsonElement c)
    {
        double lr = c.GetProperty("optimizer_lr").GetDouble();
        double[] groups = [.. Enumerable.Range(1, c.GetProperty("groups").GetInt32()).Select(i => i * lr)];
        return LearningRateSchedule.Create(
            Parse(c.GetProperty("type").GetString()!, c.GetProperty("params").GetRawText()), groups, hasBetas: true);
    }

    private static ScheduleConfig Parse(string type, string parameters) => DeepSpeedConfig.Parse(
        $$"""{ "train_batch_size": 1, "scheduler": { "type": "{{type}}", "params": {{parameters}} } }""").Scheduler!;

    private static void Close(JsonElement expected, IReadOnlyList<ScheduleValue> actual)
    {
        Assert.Equal(expected.GetArrayLength(), actual.Count);
        for (int group = 0; group < actual.Count; group++)
        {
            Close(expected[group].GetDouble(), actual[group].LearningRate);
        }
    }

    private static void Close(double expected, double actual) =>
        Assert.True(Math.Abs(expected - actual) <= 1e-12 * Math.Abs(expected), $"expected {expected:R}, found {actual:R}");

    private static JsonElement.ArrayEnumerator Cases() => JsonDocument.Parse(File.ReadAllText(
        Path.Combine(AppContext.BaseDirectory, "vectors", "lr_schedules.json"))).RootElement.GetProperty("cases").EnumerateArray();

    private static TheoryData<string> Names(bool isError) => [.. Cases()
        .Where(c => c.GetProperty("expected").TryGetProperty("error", out _) == isError).Select(c => c.GetProperty("name").GetString()!)];

    private static JsonElement Find(string name) => Cases().Single(c => c.GetProperty("name").GetString() == name);
}
