using System.Text.Json;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Precision;

public sealed class GradientScaleTests
{
    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Vectors.Read("grad_clip.json").GetProperty("cases").GetArrayLength())];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Measure_ReferenceCase_DividesAsTheReference(int index)
    {
        JsonElement c = Vectors.Read("grad_clip.json").GetProperty("cases")[index];
        JsonElement expected = c.GetProperty("expected");
        using var scope = NewDisposeScope();
        Tensor gradients = tensor(Flat(c.GetProperty("partition_grads_by_rank")));
        using var scale = new GradientScale(c.GetProperty("gradient_clipping").GetDouble(), checksOverflow: true);

        scale.Measure(gradients, c.GetProperty("loss_scale").GetDouble());

        Assert.Equal(expected.GetProperty("unscaled_norm").GetDouble(), scale.Norm.ToSingle(), 1e-6);
        double divisor = expected.GetProperty("combined_divisor").GetDouble();
        Assert.Equal(divisor, scale.Divisor.ToSingle(), divisor * 1e-6);
        Assert.Equal(0, scale.Overflow!.ToSingle());
        Vectors.Close(Flat(expected.GetProperty("grads_after")), (gradients / scale.Divisor).data<float>().ToArray(), 1e-6, 0);
    }

    [Theory]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(float.NaN)]
    public void Measure_OneGradientIsNotFinite_IsAnOverflow(float bad)
    {
        using var scope = NewDisposeScope();
        foreach (ScalarType type in (ScalarType[])[ScalarType.Float32, ScalarType.Float16, ScalarType.BFloat16])
        {
            Tensor gradients = zeros(1000).to(type);
            gradients[777].fill_(bad);
            using var scale = new GradientScale(1, checksOverflow: true);

            scale.Measure(gradients, 1);

            Assert.Equal(1, scale.Overflow!.ToSingle());
        }
    }

    [Theory]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float32)]
    public void WideNorm_ManyValuesOfAnyType_IsTheNormOfTheirWidenedValues(ScalarType type)
    {
        using var scope = NewDisposeScope();
        Tensor values = randn(100_003).mul_(30).to(type);

        Tensor norm = WideNorm.Of(values);

        Assert.Equal(ScalarType.Float32, norm.dtype);
        double expected = values.to(float64).norm().ToDouble();
        Assert.Equal(expected, norm.ToDouble(), expected * 1e-5);
    }

    private static float[] Flat(JsonElement lists) => [.. lists.EnumerateArray().SelectMany(l => l.EnumerateArray()).Select(v => v.GetSingle())];
}
