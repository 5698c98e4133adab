using DeepSpeedSharp.Engine.ActivationCheckpointing;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

[Collection(nameof(AloneTests))]
public sealed class CheckpointedSequenceTests
{
    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(5)]
    public void Sequence_AnyNumberOfSegments_TrainsAsSequentialDoes(int? numberCheckpoints)
    {
        using var scope = NewDisposeScope();
        nn.Module<Tensor, Tensor>[] layers = Layers(5, 8);
        using var sequence = new CheckpointedSequence(layers, numberCheckpoints, new CheckpointOptions { CpuCheckpointing = true });
        using var plain = nn.Sequential(layers);
        Tensor x = randn(4, 8);

        byte[][] expected = Gradients(plain, x);
        byte[][] actual = Gradients(sequence, x);

        Assert.Equal(expected, actual);
        Assert.Equal(numberCheckpoints ?? 5, sequence.NumberCheckpoints);
        Assert.Equal(plain.named_parameters().Select(p => p.name), sequence.named_parameters().Select(p => p.name));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    public void Sequence_MoreSegmentsThanModules_IsRefused(int numberCheckpoints) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new CheckpointedSequence(Layers(5, 8), numberCheckpoints));

    // 16 layers keep 4 tensors of 1 MiB each without checkpoints; with them one a layer, or one of every fourth layer.
    [Fact]
    public void Forward_DeepStack_KeepsOnlyTheInputsOfTheSegments()
    {
        using var scope = NewDisposeScope();
        const int Width = 64;
        nn.Module<Tensor, Tensor>[] layers = [.. Enumerable.Range(0, 16).Select(_ => nn.Sequential(
            nn.Tanh(), nn.Sigmoid(), nn.Tanh(), nn.Sigmoid()))];
        Tensor x = randn(4096, Width, requires_grad: true); // 1 MiB
        using var plain = nn.Sequential(layers);
        using var perLayer = new CheckpointedSequence(layers);
        using var four = new CheckpointedSequence(layers, 4);

        long all = BytesKept(plain, x);
        long sixteen = BytesKept(perLayer, x);
        long few = BytesKept(four, x);

        // Other tests allocate meanwhile, far less than these differences.
        Assert.InRange(all, 60L << 20, 70L << 20);
        Assert.InRange(sixteen, 12L << 20, 22L << 20);
        Assert.InRange(few, 1L << 20, 10L << 20);
    }

    [Fact]
    public void Training_FiveHundredSteps_LeavesNothingBehind()
    {
        using var sequence = new CheckpointedSequence(Layers(4, 8), 2);
        using Tensor x = randn(4, 8);
        void Step(int i)
        {
            using var scope = NewDisposeScope();
            Tensor loss = sequence.call(x.detach().requires_grad_(i % 2 == 0)).sum();
            if (i % 5 != 0) // sometimes a loss is given up without backward
            {
                loss.backward();
            }
        }

        Step(1);
        Step(2);
        AloneTests.Collect();
        long before = Tensor.TotalCount;
        long bytesBefore = ProcessMemory.AllocatedNatively();
        for (int i = 0; i < 500; i++)
        {
            Step(i);
        }

        Assert.InRange(Tensor.TotalCount - before, -50, 50); // other tests run meanwhile
        Assert.InRange(ProcessMemory.AllocatedNatively() - bytesBefore, -(4L << 20), 4L << 20);
    }

    private static long BytesKept(nn.Module<Tensor, Tensor> module, Tensor x)
    {
        using var scope = NewDisposeScope();
        AloneTests.Collect();
        long before = ProcessMemory.AllocatedNatively();
        Tensor loss;
        using (NewDisposeScope())
        {
            loss = module.call(x).sum().MoveToOuterDisposeScope();
        }

        long kept = ProcessMemory.AllocatedNatively() - before;
        loss.backward();
        return kept;
    }

    private static nn.Module<Tensor, Tensor>[] Layers(int count, int width)
    {
        manual_seed(3);
        return [.. Enumerable.Range(0, count).Select(_ => nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.2)))];
    }

    private static byte[][] Gradients(nn.Module<Tensor, Tensor> module, Tensor x)
    {
        manual_seed(4);
        module.zero_grad();
        module.call(x).square().sum().backward();
        return [.. module.parameters().Select(p => p.grad!.bytes.ToArray())];
    }
}
