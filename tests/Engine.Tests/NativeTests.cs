using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class NativeTests
{
    [Fact]
    public void Load_ThisMachinesLibtorch_PassesTheSelfTestAndTellsItsVersion()
    {
        TorchRuntime.Load();

        Assert.StartsWith("2.", TorchRuntime.Version, StringComparison.Ordinal);
    }

    [Fact]
    public void Patch_TheBridge_MakesTheNewerVersionOptionalAndChangesNothingElse()
    {
        byte[] original = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "libLibTorchSharp.so"));
        byte[] patched = [.. original];

        BridgeRepair.Patch(patched);

        int changed = original.Where((b, i) => b != patched[i]).Count();
        Assert.InRange(changed, 3, 16); // one symbol's name and version, one flag
        byte[] again = [.. patched];
        Assert.ThrowsAny<Exception>(() => BridgeRepair.Patch(new byte[64]));
        BridgeRepair.Patch(again);
        Assert.Equal(patched, again);
    }

    [Fact]
    public void SetData_ParameterBecomesViewOfABuffer_SharesMemoryAndKeepsGradients()
    {
        using var scope = NewDisposeScope();
        Tensor flat = arange(6, float32);
        var parameter = new TorchSharp.Modules.Parameter(zeros(2, 3));

        TensorMemory.SetData(parameter, flat.view(2, 3));
        flat.add_(1);
        (parameter * parameter).sum().backward();

        Assert.Equal([1f, 2, 3, 4, 5, 6], parameter.data<float>().ToArray());
        Assert.Equal([2f, 4, 6, 8, 10, 12], parameter.grad!.data<float>().ToArray());
    }

    [Fact]
    public void GradientHook_ParameterUsedTwice_FiresOncePerBackwardAndNotAfterClear()
    {
        using var scope = NewDisposeScope();
        var parameter = new TorchSharp.Modules.Parameter(ones(2));
        var unused = new TorchSharp.Modules.Parameter(ones(2));
        (int calls, int unusedCalls) = (0, 0);
        GradientHook.Register(parameter, () => calls++);
        GradientHook.Register(unused, () => unusedCalls++);

        (parameter * 2 + parameter * 3).sum().backward();
        (parameter * 2).sum().backward();
        GradientHook.Clear(parameter);
        (parameter * 2).sum().backward();

        Assert.Equal((2, 0), (calls, unusedCalls));
    }

    [Fact]
    public void Bytes_NotContiguousTensor_IsRefused()
    {
        using var scope = NewDisposeScope();

        Assert.Throws<ArgumentException>(() => TensorMemory.Bytes(zeros(3, 4).t()));
    }

    [Fact]
    public void Call_OperatorThatDoesNotExist_ThrowsInsteadOfEndingTheProcess()
    {
        var error = Assert.Throws<InvalidOperationException>(() => Dispatcher.Call("aten::no_such_operator"u8, []));

        Assert.Contains("no_such_operator", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FusedOptimizers_TensorsOfDifferentLength_AreRefusedBeforeTheKernelRuns()
    {
        using var scope = NewDisposeScope();
        Tensor step = ones([]);

        Assert.Throws<ArgumentException>(() =>
            FusedOptimizers.Adam(zeros(3), zeros(2), zeros(3), zeros(3), step, 1, 0.9, 0.999, 0, 1e-8, decoupled: true));
    }
}
