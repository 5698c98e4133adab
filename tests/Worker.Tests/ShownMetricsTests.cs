using System.Text.Json;
using DeepSpeedSharp.Engine;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>What console and metrics file show of a step.</summary>
public sealed class ShownMetricsTests
{
    private static readonly StepMetrics Plain = new() { Step = 3, Loss = 2.5, LearningRates = [1e-3], GradientNorm = 0.75, GlobalSamples = 24 };

    private static readonly StepMetrics Skipped = new()
    {
        Step = 4,
        Loss = double.NaN,
        LearningRates = [1e-3],
        LossScale = 32768,
        Overflow = true,
        SkippedSteps = 2,
    };

    [Fact]
    public void MetricsFile_PlainAndSkippedSteps_HasTheScaleInFp16Alone()
    {
        string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            using (var file = new MetricsFile(path, 0))
            {
                file.Write(Plain, 1000, 0.5, null);
                file.Write(Skipped, 1000, 0.5, 0.41237);
            }

            JsonElement[] lines = [.. File.ReadLines(path).Select(line => JsonDocument.Parse(line).RootElement)];
            Assert.Equal(["step", "loss", "lr", "grad_norm", "tokens_per_second", "step_seconds"], Names(lines[0]));
            Assert.Equal(0.75, lines[0].GetProperty("grad_norm").GetDouble());
            Assert.Equal(["step", "loss", "lr", "grad_norm", "tokens_per_second", "step_seconds", "loss_scale", "overflow", "skipped_steps", "mfu"], Names(lines[1]));
            Assert.Equal(JsonValueKind.Null, lines[1].GetProperty("loss").ValueKind);
            Assert.Equal(JsonValueKind.Null, lines[1].GetProperty("grad_norm").ValueKind);
            Assert.Equal(32768, lines[1].GetProperty("loss_scale").GetDouble());
            Assert.True(lines[1].GetProperty("overflow").GetBoolean());
            Assert.Equal(2, lines[1].GetProperty("skipped_steps").GetInt64());
            Assert.Equal(0.4124, lines[1].GetProperty("mfu").GetDouble());
        }
        finally
        {
            File.Delete(path);
        }

        static IEnumerable<string> Names(JsonElement line) => line.EnumerateObject().Select(p => p.Name);
    }

    [Fact]
    public void Console_PlainAndSkippedSteps_TellsOverflowAndUtilization()
    {
        var output = new StringWriter { NewLine = "\n" };
        var console = new ConsoleProgress(10, 1, output, isTerminal: false, new FakeTimeProvider());

        console.Report(Plain, 1234, null, TimeSpan.FromSeconds(7));
        console.Report(Skipped, 1234, 0.4123, TimeSpan.FromSeconds(6));

        Assert.Equal("step 3/10  loss 2.5000  lr 1.00e-3  grad norm 0.75  1,234 tokens/s  7s left\n"
            + "step 4/10  loss NaN  lr 1.00e-3  overflow: skipped, loss scale now 32768  1,234 tokens/s  mfu 41.2 %  6s left\n", output.ToString());
    }

    [Theory]
    [InlineData("NVIDIA H100 80GB HBM3", 989e12)]
    [InlineData("NVIDIA H100 PCIe", 756e12)]
    [InlineData("NVIDIA H200", 989e12)]
    [InlineData("NVIDIA A100-SXM4-40GB", 312e12)]
    [InlineData("NVIDIA L40S", 362e12)]
    [InlineData("NVIDIA L4", 121e12)]
    [InlineData("NVIDIA L40", null)]
    [InlineData("NVIDIA GeForce RTX 4090", null)]
    [InlineData(null, null)]
    public void PeakFlops_NameOfAGpu_IsItsDense16BitPeak(string? name, double? flops) => Assert.Equal(flops, PeakFlops.Of(name));

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void PeakFlops_NoGpuOrAnotherPrecision_IsNotKnown(bool isGpu, bool is16Bit) => Assert.Null(PeakFlops.OfThisMachine(isGpu, is16Bit));
}
