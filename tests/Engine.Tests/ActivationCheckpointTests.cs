using DeepSpeedSharp.Engine.ActivationCheckpointing;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

[Collection(nameof(AloneTests))]
public sealed class ActivationCheckpointTests
{
    [Theory]
    [InlineData(ScalarType.Float32, true)]
    [InlineData(ScalarType.Float32, false)]
    [InlineData(ScalarType.BFloat16, true)]
    [InlineData(ScalarType.Float16, true)]
    [InlineData(ScalarType.Float64, true)]
    public void Checkpoint_WithDropout_GivesTheSameBitsAsThePlainBlock(ScalarType dtype, bool inputNeedsGrad)
    {
        using var scope = NewDisposeScope();
        using nn.Module<Tensor, Tensor> block = Block(dtype);

        (Tensor Output, Tensor?[] Gradients) plain = Train(block, x => block.call(x), dtype, inputNeedsGrad);
        (Tensor Output, Tensor?[] Gradients) again = Train(block, x => ActivationCheckpoint.Checkpoint(block.call, x), dtype, inputNeedsGrad);

        Assert.Equal(Bits(plain.Output), Bits(again.Output));
        Assert.Equal(inputNeedsGrad, again.Gradients[0] is not null);
        Assert.Equal(plain.Gradients.Select(Bits), again.Gradients.Select(Bits));
    }

    [Fact]
    public void Checkpoint_RandomNumbersAfterBackward_AreThoseOfThePlainRun()
    {
        using var scope = NewDisposeScope();
        using nn.Module<Tensor, Tensor> block = Block(ScalarType.Float32);

        Train(block, x => block.call(x), ScalarType.Float32, true);
        Tensor plain = rand(4);
        Train(block, x => ActivationCheckpoint.Checkpoint(block.call, x), ScalarType.Float32, true);
        Tensor again = rand(4);

        Assert.Equal(Bits(plain), Bits(again));
    }

    [Fact]
    public void Checkpoint_WithoutRandomState_DropsOtherElementsTheSecondTime()
    {
        using var scope = NewDisposeScope();
        Tensor x = ones(1000, requires_grad: true);

        using Tensor y = ActivationCheckpoint.Checkpoint(v => nn.functional.dropout(v, 0.5), x, new CheckpointOptions { PreserveRandomState = false });
        y.sum().backward();

        Assert.NotEqual(Bits(y), Bits(x.grad));
    }

    [Fact]
    public void Checkpoint_SeveralInputs_GivesEachItsGradient()
    {
        using var scope = NewDisposeScope();
        Tensor a = tensor([1f, 2f], requires_grad: true);
        Tensor scalar = tensor(3f, requires_grad: true);
        Tensor constant = tensor([5f, 7f]);
        Tensor index = tensor([1L, 0L]);
        Tensor unused = tensor([1f], requires_grad: true);

        // y = a * scalar * constant, with the elements of a exchanged
        Tensor y = ActivationCheckpoint.Checkpoint(
            v => v[0].index_select(0, v[3]) * v[1] * v[2], [a, scalar, constant, index, unused]);
        (y * tensor([1f, 10f])).sum().backward();

        Assert.Equal([30f, 21f], y.detach().data<float>().ToArray());
        Assert.Equal([210f, 15f], a.grad!.data<float>().ToArray());
        Assert.Equal(2 * 5 + 10 * 1 * 7, scalar.grad!.ToSingle());
        Assert.Null(constant.grad);
        Assert.Equal(0, unused.grad!.ToSingle());
    }

    [Fact]
    public void Checkpoint_InputAlsoUsedElsewhere_AddsTheGradients()
    {
        using var scope = NewDisposeScope();
        Tensor x = tensor([2f, 3f], requires_grad: true);

        Tensor h = x * 2;
        Tensor y = ActivationCheckpoint.Checkpoint(v => v * v, h);
        (y + h * 5 + y).sum().backward();

        // d/dx of 2 (2x)^2 + 10 x
        Assert.Equal([16f * 2 + 10, 16f * 3 + 10], x.grad!.data<float>().ToArray());
    }

    [Fact]
    public void Checkpoint_NegativeZerosAndInfinities_PassUnchanged()
    {
        using var scope = NewDisposeScope();
        Tensor x = tensor([-0.0f, 0.0f, float.PositiveInfinity, float.NaN], requires_grad: true);

        Tensor y = ActivationCheckpoint.Checkpoint(v => v.alias(), x);
        y.backward([ones(4)]);

        Assert.Equal(Bits(x), Bits(y));
        Assert.Equal([1f, 1f, 1f, 1f], x.grad!.data<float>().ToArray());
    }

    [Fact]
    public void Checkpoint_Nested_GivesTheSameGradients()
    {
        using var scope = NewDisposeScope();
        using nn.Module<Tensor, Tensor> inner = Block(ScalarType.Float32);
        Tensor Nested(Tensor x) => ActivationCheckpoint.Checkpoint(v =>
            ActivationCheckpoint.Checkpoint(inner.call, ActivationCheckpoint.Checkpoint(inner.call, v).tanh()) + v, x);

        (_, Tensor?[] plain) = Train(inner, x => inner.call(inner.call(x).tanh()) + x, ScalarType.Float32, true);
        (_, Tensor?[] nested) = Train(inner, Nested, ScalarType.Float32, true);

        // A parameter used twice gets the sum of two backwards instead of one sum: another order of additions.
        for (int i = 0; i < plain.Length; i++)
        {
            Assert.True(allclose(plain[i]!, nested[i]!, 1e-5, 1e-6));
        }
    }

    [Fact]
    public void Checkpoint_GradientHooksAndPresetGradients_WorkAsInThePlainBlock()
    {
        using var scope = NewDisposeScope();
        using var linear = nn.Linear(4, 4);
        Tensor flat = zeros(20);
        linear.weight!.grad = flat.narrow(0, 0, 16).view(4, 4);
        linear.bias!.grad = flat.narrow(0, 16, 4);
        int hooks = 0;
        GradientHook.Register(linear.weight, () => hooks++);
        GradientHook.Register(linear.bias, () => hooks++);
        Tensor x = ones(2, 4);

        ActivationCheckpoint.Checkpoint(linear.call, x).sum().backward();
        GradientHook.Clear(linear.weight);
        GradientHook.Clear(linear.bias);

        Assert.Equal(2, hooks);
        Assert.Equal(Enumerable.Repeat(2f, 20), flat.data<float>().ToArray());
    }

    [Fact]
    public void Checkpoint_WithoutGradients_SimplyRuns()
    {
        using var scope = NewDisposeScope();
        int runs = 0;
        Tensor Run(Tensor x)
        {
            runs++;
            return x * 2;
        }

        using (no_grad())
        {
            Assert.False(ActivationCheckpoint.Checkpoint(Run, ones(1, requires_grad: true)).requires_grad);
        }

        // Nothing in this graph needs a gradient, so the second run finds nothing to do.
        ActivationCheckpoint.Checkpoint(Run, ones(1)).backward();
        Assert.Equal(3, runs);
    }

    [Fact]
    public void Backward_Twice_NeedsTheFirstToKeepTheGraph()
    {
        using var scope = NewDisposeScope();
        Tensor x = tensor([3f], requires_grad: true);
        Tensor y = ActivationCheckpoint.Checkpoint(v => v * v, x);

        y.backward(retain_graph: true);
        y.backward();

        Assert.Equal(12, x.grad!.ToSingle());
        Assert.ThrowsAny<Exception>(() => y.backward());
        Assert.Contains("retain_graph", Assert.Throws<InvalidOperationException>(ActivationCheckpoint.ThrowIfFailed).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Backward_BlockFailsTheSecondTime_GivesItsExceptionAndRestoresTheRandomState()
    {
        using var scope = NewDisposeScope();
        bool fails = false;
        Tensor x = ones(2, requires_grad: true);
        Tensor inner = ActivationCheckpoint.Checkpoint(
            v => ActivationCheckpoint.Checkpoint(w => fails ? throw new InvalidDataException("lost") : w * rand(1), v), x);
        fails = true;
        Tensor before = get_rng_state();

        Assert.ThrowsAny<Exception>(() => inner.sum().backward());

        Assert.Equal("lost", Assert.Throws<InvalidDataException>(ActivationCheckpoint.ThrowIfFailed).Message);
        ActivationCheckpoint.ThrowIfFailed(); // once is enough
        Assert.Equal(Bits(before), Bits(get_rng_state()));
    }

    [Fact]
    public void Backward_BlockGivesAnotherShape_SaysSo()
    {
        using var scope = NewDisposeScope();
        int size = 3;
        Tensor y = ActivationCheckpoint.Checkpoint(v => v.narrow(0, 0, size), ones(4, requires_grad: true));
        size = 2;

        Assert.ThrowsAny<Exception>(() => y.sum().backward());

        Assert.Contains("[3] in forward and [2]", Assert.Throws<InvalidOperationException>(ActivationCheckpoint.ThrowIfFailed).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Backward_InputChangedInPlace_IsRefused(bool cpuCheckpointing)
    {
        using var scope = NewDisposeScope();
        Tensor x = tensor([1f, 2f], requires_grad: true);
        Tensor h = x * 1;
        Tensor y = ActivationCheckpoint.Checkpoint(v => v * v, h, new CheckpointOptions { CpuCheckpointing = cpuCheckpointing });
        using (no_grad())
        {
            h.mul_(2);
        }

        Assert.ThrowsAny<Exception>(() => y.sum().backward());

        Assert.Contains("changed in place", Assert.Throws<InvalidOperationException>(ActivationCheckpoint.ThrowIfFailed).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Checkpoint_OutputOfWholeNumbers_IsRefused()
    {
        using var scope = NewDisposeScope();

        Assert.Throws<InvalidOperationException>(() => ActivationCheckpoint.Checkpoint(x => x.argmax(0), ones(4, requires_grad: true)));
    }

    private static nn.Module<Tensor, Tensor> Block(ScalarType dtype)
    {
        manual_seed(1);
        var block = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(16), nn.Linear(16, 8));
        return block.to(dtype);
    }

    // Loss of two micro batches, so that gradients are accumulated too.
    private static (Tensor Output, Tensor?[] Gradients) Train(
        nn.Module<Tensor, Tensor> block, Func<Tensor, Tensor> forward, ScalarType dtype, bool inputNeedsGrad)
    {
        block.zero_grad();
        manual_seed(2);
        Tensor x = randn(4, 8).to(dtype).requires_grad_(inputNeedsGrad);
        Tensor output = forward(x);
        (output * output).sum().backward();
        forward(x).sum().backward();
        return (output, [x.grad?.clone(), .. block.parameters().Select(p => p.grad?.clone())]);
    }

    private static byte[] Bits(Tensor? tensor) => tensor is null ? [] : tensor.detach().contiguous().bytes.ToArray();
}
