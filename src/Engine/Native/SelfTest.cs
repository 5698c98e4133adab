using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Tries everything of this folder once on two-element tensors.</summary>
/// <remarks>
/// Symbol names, object layouts and operator schemas belong to libtorch's version. A libtorch that moved one of them
/// must fail here, with a sentence, and not in the middle of a run.
/// </remarks>
internal static class SelfTest
{
    /// <summary>Runs the test.</summary>
    /// <returns>Version of this libtorch, as "2.10".</returns>
    /// <exception cref="NativeBackendException">Something does not behave as expected.</exception>
    public static string Run()
    {
        string version = "of unknown version";
        string trying = "its C dispatcher";
        try
        {
            version = $"{Dispatcher.AbiVersion >> 56}.{(Dispatcher.AbiVersion >> 48) & 0xff}";
            using DisposeScope scope = NewDisposeScope();
            using IDisposable grad = enable_grad();

            trying = "replacing a parameter's data";
            Tensor flat = ones(2);
            var leaf = new TorchSharp.Modules.Parameter(zeros(2));
            TensorMemory.SetData(leaf, flat);
            flat.mul_(3);
            Expect(leaf, 3, 3);

            trying = "reading tensor memory";
            Expect(BitConverter.ToSingle(TensorMemory.Bytes(flat.narrow(0, 1, 1)).Span) == 3);

            trying = "gradient hooks";
            int calls = 0;
            GradientHook.Register(leaf, () => calls++);
            (leaf * leaf).sum().backward();
            GradientHook.Clear(leaf);
            Expect(calls == 1);
            using Tensor gradient = leaf.grad!;
            Expect(gradient, 6, 6);

            trying = "tensor hooks";
            var start = new TorchSharp.Modules.Parameter(ones(2));
            Tensor middle = start * 2;
            TensorHook.Register(middle, seen => TensorHook.KeepsGraph ? null : seen * 5);
            middle.sum().backward();
            using Tensor replaced = start.grad!;
            Expect(replaced, 10, 10);

            trying = "counting changes in place";
            long changes = TensorMemory.Version(flat);
            flat.add_(0);
            Expect(TensorMemory.Version(flat) == changes + 1);

            trying = "giving a storage's memory back";
            Tensor memory = ones(8);
            Tensor view = memory.narrow(0, 2, 2);
            StorageMemory.Free(memory);
            Expect(TensorMemory.Address(memory) == 0);
            StorageMemory.Take(memory, 8);
            memory.fill_(4);
            Expect(view, 4, 4);

            trying = "the fused AdamW kernel";
            Tensor step = ones([]);
            using (no_grad())
            {
                // The first update of Adam moves each element by the learning rate against its gradient's sign.
                FusedOptimizers.Adam(flat, gradient, zeros(2), zeros(2), step, 0.5, 0.9, 0.999, 0, 1e-8, decoupled: true);
            }

            Expect(flat, 2.5f, 2.5f);
            return version;
        }
        catch (Exception e) when (e is not NativeBackendException)
        {
            throw new NativeBackendException($"libtorch {version} does not behave as this engine needs: {trying} failed "
                + $"({e.Message}); use libtorch 2.10 or 2.11 for Linux x64 (docs/operations.md#libtorch)", e);
        }
    }

    private static void Expect(Tensor tensor, params float[] values)
    {
        using Tensor expected = torch.tensor(values);
        using Tensor detached = tensor.detach();
        Expect(allclose(detached, expected));
    }

    private static void Expect(bool holds)
    {
        if (!holds)
        {
            throw new InvalidOperationException("the result is not the expected one");
        }
    }
}
