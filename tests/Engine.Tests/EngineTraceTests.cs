using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Counters, loss scale and learning rate over calls of Step, with overflows at chosen steps.</summary>
public sealed class EngineTraceTests
{
    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Vectors.Read("engine_trace.json").GetProperty("cases").GetArrayLength())];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Step_OverflowsAtSomeBoundaries_CountsAsTheReference(int index)
    {
        JsonElement c = Vectors.Read("engine_trace.json").GetProperty("cases")[index];

        List<Dictionary<string, object>>[] runs = Ranks.Run(c.GetProperty("dp").GetInt32(), group => Trace(c, group));

        foreach (List<Dictionary<string, object>> rows in runs)
        {
            foreach ((JsonElement expected, Dictionary<string, object> row) in c.GetProperty("rows").EnumerateArray().Zip(rows))
            {
                // A skipped step has used no learning rate: null in the file.
                foreach (JsonProperty property in expected.EnumerateObject().Where(p => p.Value.ValueKind != JsonValueKind.Null))
                {
                    object actual = row[property.Name];
                    string what = $"call {row["step_call"]}, {property.Name}";
                    if (actual is bool flag)
                    {
                        Assert.True(property.Value.GetBoolean() == flag, what);
                    }
                    else
                    {
                        Assert.True(Math.Abs(property.Value.GetDouble() - Convert.ToDouble(actual, null)) < 1e-12, $"{what}: expected {property.Value}, found {actual}");
                    }
                }
            }

            Assert.Equal(c.GetProperty("rows").GetArrayLength(), rows.Count);
        }
    }

    private static List<Dictionary<string, object>> Trace(JsonElement c, ProcessGroup group)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_batch_size": {{c.GetProperty("train_batch_size")}}, "train_micro_batch_size_per_gpu": {{c.GetProperty("micro")}},
             "gradient_accumulation_steps": {{c.GetProperty("gas")}},
             "fp16": {"enabled": true, "initial_scale_power": {{c.GetProperty("fp16").GetProperty("initial_scale_power")}},
                      "hysteresis": {{c.GetProperty("fp16").GetProperty("hysteresis")}}, "loss_scale_window": {{c.GetProperty("fp16").GetProperty("loss_scale_window")}} },
             "optimizer": {"type": "AdamW", "params": {"lr": 0.01} }, "scheduler": {{c.GetProperty("scheduler").GetRawText()}} }
            """);
        bool[] overflows = [.. c.GetProperty("overflow_at_boundary").EnumerateArray().Select(b => b.GetBoolean())];
        var model = nn.Linear(4, 4);
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, CPU);
        using (engine)
        {
            var rows = new List<Dictionary<string, object>>();
            int boundaries = 0;
            using Tensor x = ones(2, 4, float16);
            while (boundaries < overflows.Length)
            {
                bool isBoundary = engine.IsGradientAccumulationBoundary;
                double factor = isBoundary && overflows[boundaries] && group.Rank == group.WorldSize - 1 ? double.PositiveInfinity : 1e-3;
                (double scale, double used) = (engine.LossScale, engine.GetLr()[0]);
                using (Tensor loss = engine.Forward(() => (model.call(x).to(float32) * factor).mean()))
                {
                    engine.Backward(loss);
                }

                engine.Step();
                boundaries += isBoundary ? 1 : 0;
                rows.Add(new Dictionary<string, object>
                {
                    ["step_call"] = rows.Count + 1,
                    ["is_boundary_before_step"] = isBoundary,
                    ["loss_scale_during_backward"] = scale,
                    ["lr_used"] = used,
                    ["was_step_applied"] = engine.WasStepApplied,
                    ["loss_scale_after"] = engine.LossScale,
                    ["micro_steps"] = engine.MicroSteps,
                    ["global_steps"] = engine.GlobalSteps,
                    ["skipped_steps"] = engine.SkippedSteps,
                    ["global_samples"] = engine.GlobalSamples,
                    ["get_lr_after"] = engine.GetLr()[0],
                });
            }

            return rows;
        }
    }
}
