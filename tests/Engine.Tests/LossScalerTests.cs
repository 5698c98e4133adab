using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class LossScalerTests
{
    public static TheoryData<string> Cases => Names("cases");

    public static TheoryData<string> LongCases => Names("long_cases");

    [Theory]
    [MemberData(nameof(Cases))]
    public void Update_ReferenceCase_GivesTheSameScales(string name)
    {
        JsonElement c = Find("cases", name);
        LossScaler scaler = Scaler(c);
        string overflows = c.GetProperty("overflow_pattern").GetString()!;

        foreach (JsonElement step in c.GetProperty("steps").EnumerateArray())
        {
            Assert.Equal(step.GetProperty("scale_before").GetDouble(), scaler.Scale);
            bool overflow = overflows[step.GetProperty("i").GetInt32()] == '1';
            if (step.TryGetProperty("error", out _))
            {
                Assert.Throws<LossScaleException>(() => scaler.Update(overflow));
                Assert.Equal(step.GetProperty("scale_before").GetDouble(), scaler.Scale);
                continue;
            }

            bool changed = scaler.Update(overflow);

            Assert.Equal(step.GetProperty("scale_after").GetDouble(), scaler.Scale);
            Assert.Equal(step.GetProperty("scale_after").GetDouble() != step.GetProperty("scale_before").GetDouble(), changed);
            if (step.TryGetProperty("hysteresis_left", out JsonElement left))
            {
                Assert.Equal(left.GetInt32(), scaler.HysteresisLeft);
            }
        }
    }

    [Theory]
    [MemberData(nameof(LongCases))]
    public void Update_FiveThousandSteps_ChangesTheScaleWhereTheReferenceDoes(string name)
    {
        JsonElement c = Find("long_cases", name);
        LossScaler scaler = Scaler(c);
        var overflows = c.GetProperty("overflow_iterations").EnumerateArray().Select(e => e.GetInt32()).ToHashSet();

        // The reference lists the first scale as a change at iteration 0.
        List<(int, double)> changes = [(0, scaler.Scale)];
        for (int i = 0; i < c.GetProperty("n_steps").GetInt32(); i++)
        {
            if (scaler.Update(overflows.Contains(i)))
            {
                changes.Add((i, scaler.Scale));
            }
        }

        Assert.Equal(c.GetProperty("scale_changes").EnumerateArray().Select(e => (e[0].GetInt32(), e[1].GetDouble())), changes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(8)]
    public void Restore_AnywhereInARun_GoesOnAsIfUninterrupted(int steps)
    {
        const string Overflows = "0110000011001";
        LossScaler whole = LossScaler.Dynamic(256, window: 3, hysteresis: 2);
        LossScaler first = LossScaler.Dynamic(256, window: 3, hysteresis: 2);
        LossScaler second = LossScaler.Dynamic(1, window: 3, hysteresis: 2);

        foreach (char o in Overflows[..steps])
        {
            whole.Update(o == '1');
            first.Update(o == '1');
        }

        second.Restore(first.State);
        foreach (char o in Overflows[steps..])
        {
            whole.Update(o == '1');
            second.Update(o == '1');

            Assert.Equal(whole.State, second.State);
        }
    }

    [Fact]
    public void Static_Overflow_KeepsTheScaleEvenAfterARestore()
    {
        LossScaler scaler = LossScaler.Static(128);

        Assert.False(scaler.Update(overflow: true));
        Assert.False(scaler.Update(overflow: false));
        scaler.Restore(LossScaler.Dynamic().State);

        Assert.Equal(128, scaler.Scale);
    }

    [Fact]
    public void Create_Config_ChoosesTheKindOfScale()
    {
        LossScaler off = LossScaler.Create(new Fp16Config());
        LossScaler given = LossScaler.Create(new Fp16Config { Enabled = true, LossScale = 128 });
        LossScaler free = LossScaler.Create(new Fp16Config { Enabled = true, InitialScalePower = 3, Hysteresis = 1, MinLossScale = 4 });

        Assert.Equal((1, false), (off.Scale, off.IsDynamic));
        Assert.Equal((128, false), (given.Scale, given.IsDynamic));
        Assert.Equal((8, true), (free.Scale, free.IsDynamic));
        Assert.True(free.Update(overflow: true));
        Assert.Throws<LossScaleException>(() => free.Update(overflow: true));
    }

    [Theory]
    [InlineData(0, 0, -1, 1)]
    [InlineData(double.NaN, 0, -1, 1)]
    [InlineData(1, -1, -1, 1)]
    [InlineData(1, 3, 3, 1)]
    [InlineData(1, 3, 1, 0)]
    public void Restore_ImpossibleState_IsRefused(double scale, long iteration, long lastOverflow, int hysteresisLeft)
    {
        Assert.Throws<ArgumentException>(() =>
            LossScaler.Dynamic().Restore(new LossScalerState(scale, iteration, lastOverflow, hysteresisLeft)));
    }

    [Fact]
    public void Update_OverflowAtTheMinimum_SaysWhatToDo()
    {
        LossScaler scaler = LossScaler.Dynamic(4, hysteresis: 1, minimum: 4);

        string message = Assert.Throws<LossScaleException>(() => scaler.Update(overflow: true)).Message;

        Assert.Contains("after 0 steps", message, StringComparison.Ordinal);
        Assert.Contains("smallest loss scale, 4", message, StringComparison.Ordinal);
        Assert.Contains("bf16", message, StringComparison.Ordinal);
    }

    // The original's simple variant (stage 0) is hysteresis 1 without the error; nothing else differs.
    private static LossScaler Scaler(JsonElement c)
    {
        JsonElement config = c.GetProperty("config");
        bool isSimple = c.GetProperty("algorithm").GetString() == "simple";
        bool raises = !config.TryGetProperty("raise_error_at_min_scale", out JsonElement raise) || raise.GetBoolean();
        return LossScaler.Dynamic(
            Math.Pow(2, config.GetProperty("initial_scale_power").GetInt32()),
            config.GetProperty("loss_scale_window").GetInt32(),
            isSimple ? 1 : config.GetProperty("hysteresis").GetInt32(),
            config.GetProperty("consecutive_hysteresis").GetBoolean(),
            config.GetProperty("min_loss_scale").GetDouble(),
            raises && !isSimple);
    }

    private static TheoryData<string> Names(string group) =>
        [.. Vectors.Read("loss_scale.json").GetProperty(group).EnumerateArray().Select(c => c.GetProperty("name").GetString()!)];

    private static JsonElement Find(string group, string name) => Vectors.Read("loss_scale.json").GetProperty(group)
        .EnumerateArray().Single(c => c.GetProperty("name").GetString() == name);
}
