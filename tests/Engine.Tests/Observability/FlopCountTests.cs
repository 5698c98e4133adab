using System.Text.Json;
using DeepSpeedSharp.Engine.Observability;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class FlopCountTests
{
    public static TheoryData<int, string> Cases()
    {
        var cases = new TheoryData<int, string>();
        foreach ((int i, JsonElement c) in Vectors.Read("flops.json").GetProperty("cases").EnumerateArray().Index())
        {
            cases.Add(i, c.GetProperty("op").GetString()!);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Rule_CaseOfTheOriginal_GivesItsFlopsAndMacs(int index, string op)
    {
        JsonElement c = Vectors.Read("flops.json").GetProperty("cases")[index];
        JsonElement shapes = c.GetProperty("shapes");

        FlopCount count = op switch
        {
            "linear" => FlopCount.Linear(Shape("input"), Shape("weight")[0]),
            "matmul" => FlopCount.MatMul(Shape("a"), Shape("b")),
            "addmm" => FlopCount.AddMM(Shape("a"), Shape("b")),
            "conv" => FlopCount.Convolution(ConvolutionOutput(), Shape("weight"), shapes.GetProperty("bias").GetBoolean()),
            "softmax" => FlopCount.Elementwise(Shape("input")),
            "layer_norm" => FlopCount.Norm(Shape("input"), shapes.GetProperty("affine").GetBoolean()),
            _ => throw new InvalidDataException($"no rule for {op}"),
        };

        Assert.Equal(new FlopCount(c.GetProperty("flops").GetInt64(), c.GetProperty("macs").GetInt64()), count);

        long[] Shape(string name) => [.. shapes.GetProperty(name).EnumerateArray().Select(e => e.GetInt64())];

        long[] ConvolutionOutput()
        {
            (long[] input, long[] weight) = (Shape("input"), Shape("weight"));
            (long stride, long padding) = (shapes.GetProperty("stride").GetInt64(), shapes.GetProperty("padding").GetInt64());
            long Side(int i) => (input[i] + 2 * padding - weight[i]) / stride + 1;
            return [input[0], weight[0], Side(2), Side(3)];
        }
    }

    [Fact]
    public void MatMul_BatchOnOneSideAndVectors_CountsTheBroadcastProduct()
    {
        Assert.Equal(2 * 3 * 4 * 5 * 6, FlopCount.MatMul([2, 3, 4, 5], [5, 6]).Macs);
        Assert.Equal(2 * 3 * 4 * 5 * 6, FlopCount.MatMul([4, 5], [2, 3, 5, 6]).Macs);
        Assert.Equal(7, FlopCount.MatMul([7], [7]).Macs);
        Assert.Equal(3 * 7, FlopCount.MatMul([3, 7], [7]).Macs);
    }

    [Fact]
    public void Attention_QueriesAndKeysOfOtherLengths_CountsBothProducts()
    {
        FlopCount count = FlopCount.Attention([2, 4, 10, 16], [2, 4, 12, 16], [2, 4, 12, 8]);

        Assert.Equal(2 * 4 * 10 * 12 * (16 + 8), count.Macs);
        Assert.Equal(2 * count.Macs, count.Flops);
    }
}
