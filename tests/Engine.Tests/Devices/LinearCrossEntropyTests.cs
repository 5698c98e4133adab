using DeepSpeedSharp.Engine.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

public sealed class LinearCrossEntropyTests
{
    // A vocabulary that is a multiple of eight, one that is not, one smaller than a block, and a real one.
    public static TheoryData<string, ScalarType, int, int> Sizes() => new()
    {
        { "cpu", ScalarType.Float32, 40, 33 },
        { "cpu", ScalarType.BFloat16, 40, 33 },
        { "cuda", ScalarType.BFloat16, 64, 4096 },
        { "cuda", ScalarType.BFloat16, 65, 1001 },
        { "cuda", ScalarType.Float16, 65, 1001 },
        { "cuda", ScalarType.BFloat16, 3, 7 },
        { "cuda", ScalarType.Float16, 128, 50304 },
        { "cuda", ScalarType.BFloat16, 128, 50257 },
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Mean_AnySize_HasLossAndGradientsOfFp64(string device, ScalarType type, int rows, int classes)
    {
        PrecisionParityTests.SkipWithout(device);
        using var scope = NewDisposeScope();
        manual_seed(rows * classes);
        var where = new Device(device);
        Tensor hidden = randn(rows, 48).mul_(2).to(type, where).requires_grad_();
        Tensor weight = randn(classes, 48).mul_(0.3).to(type, where).requires_grad_();
        Tensor targets = randint(classes, rows, int64);
        targets[rows / 2].fill_(LinearCrossEntropy.DefaultIgnoredTarget);
        (Tensor h, Tensor w) = (hidden.detach().cpu().to(float64).requires_grad_(), weight.detach().cpu().to(float64).requires_grad_());
        Tensor expected = nn.functional.cross_entropy(h.mm(w.t()), targets);
        (expected * 3).backward();

        Tensor loss = LinearCrossEntropy.Mean(hidden, weight, targets.to(where));
        (loss * 3).backward();

        Assert.Equal(float32, loss.dtype);
        double tolerance = type == ScalarType.Float32 ? 1e-5 : type == ScalarType.Float16 ? 2e-3 : 1.6e-2;
        Assert.Equal(expected.ToDouble(), loss.ToDouble(), tolerance * expected.ToDouble());
        Assert.True(Distance(h.grad!, hidden.grad!) < tolerance, $"hidden: {Distance(h.grad!, hidden.grad!)}");
        Assert.True(Distance(w.grad!, weight.grad!) < tolerance, $"weight: {Distance(w.grad!, weight.grad!)}");
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void Mean_WithoutGradients_IsTheSameLossAndKeepsNothing(string device)
    {
        PrecisionParityTests.SkipWithout(device);
        using var scope = NewDisposeScope();
        var where = new Device(device);
        Tensor hidden = randn(10, 16).to(bfloat16, where);
        Tensor weight = randn(20, 16).to(bfloat16, where).requires_grad_();
        Tensor targets = randint(20, 10, int64).to(where);
        Tensor withGraph = LinearCrossEntropy.Mean(hidden, weight, targets);

        using IDisposable noGrad = no_grad();
        Tensor loss = LinearCrossEntropy.Mean(hidden, weight, targets);

        Assert.False(loss.requires_grad);
        Assert.True(withGraph.requires_grad);
        Assert.Equal(withGraph.ToSingle(), loss.ToSingle());
    }

    [Fact]
    public void Mean_TargetOutOfRangeOnAGpu_IsNotANumber()
    {
        PrecisionParityTests.SkipWithout("cuda");
        using var scope = NewDisposeScope();
        Tensor loss = LinearCrossEntropy.Mean(randn(4, 8, dtype: bfloat16, device: CUDA), randn(16, 8, dtype: bfloat16, device: CUDA),
            tensor(new long[] { 1, 2, 16, 3 }, device: CUDA));

        Assert.True(float.IsNaN(loss.ToSingle()));
    }

    [Fact]
    public void Kernel_OnThisMachinesGpu_CanBeUsed()
    {
        PrecisionParityTests.SkipWithout("cuda");

        Assert.Null(CrossEntropyKernel.ReasonAgainst(CUDA));
    }

    private static double Distance(Tensor expected, Tensor actual) =>
        ((actual.cpu().to(float64) - expected).norm() / expected.norm()).ToDouble();
}
