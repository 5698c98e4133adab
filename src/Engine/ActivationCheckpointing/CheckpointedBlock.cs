using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>One call of a block whose insides are computed again in backward.</summary>
/// <remarks>
/// The block runs without a graph. A chain of empty tensors then ties each input to the output, so that autograd comes
/// by in the right order: the hook of the output gets the output's gradient and does the real work, and the hooks of
/// the inputs replace the zeros that come out of the chain by the real gradients.
/// </remarks>
internal sealed class CheckpointedBlock
{
    private readonly Func<IReadOnlyList<Tensor>, Tensor> _block;
    private readonly RecomputeFailure _failure;
    private readonly RandomSnapshot? _random;
    private readonly int? _cudaDevice;
    private readonly Tensor?[] _gradients;
    private KeptInput[]? _inputs;

    private CheckpointedBlock(Func<IReadOnlyList<Tensor>, Tensor> block, IReadOnlyList<Tensor> inputs,
        CheckpointOptions options, RecomputeFailure failure)
    {
        (_block, _failure) = (block, failure);
        _cudaDevice = inputs.FirstOrDefault(input => input.device_type == DeviceType.CUDA)?.device_index;
        _random = options.PreserveRandomState ? new RandomSnapshot(_cudaDevice) : null;
        _gradients = new Tensor?[inputs.Count];
        _inputs = [.. inputs.Select(input => new KeptInput(input, options.CpuCheckpointing))];
    }

    /// <summary>Runs a block, keeping only its inputs.</summary>
    /// <returns>The output; in the caller's dispose scope.</returns>
    public static Tensor Run(Func<IReadOnlyList<Tensor>, Tensor> block, IReadOnlyList<Tensor> inputs,
        CheckpointOptions options, RecomputeFailure failure)
    {
        using DisposeScope scope = NewDisposeScope();
        var call = new CheckpointedBlock(block, inputs, options, failure);
        try
        {
            Tensor output;
            using (no_grad())
            {
                output = block(inputs);
            }

            if (!output.is_floating_point() && !output.is_complex())
            {
                throw new InvalidOperationException($"a checkpointed block gave a tensor of {output.dtype}, which has no "
                    + "gradient; its output must be floating point");
            }

            // Detached, because a block may give back one of its inputs. Adding -0.0 changes no bit of any number, not
            // even the sign of a zero.
            Tensor tied = output.detach() + call.Tie(inputs).to(output.dtype).to(output.device);
            TensorHook.Register(tied, call.OnOutputGradient, call.FreeInputs);
            return tied.MoveToOuterDisposeScope();
        }
        catch
        {
            call.FreeInputs();
            throw;
        }
    }

    // -0.0, depending on every input that needs a gradient through none of its elements. Without such an input on a
    // tensor of its own, so that the parameters inside the block still get theirs.
    private Tensor Tie(IReadOnlyList<Tensor> inputs)
    {
        Tensor? tie = null;
        for (int i = 0; i < inputs.Count; i++)
        {
            if (!inputs[i].requires_grad)
            {
                continue;
            }

            // A view of its own, because the hook must see this use of the input only. (Tensor.alias() is no view but
            // another name of the same tensor.)
            int index = i;
            Tensor use = inputs[i].view_as(inputs[i]);
            TensorHook.Register(use, _ => TakeGradient(index), () => TakeGradient(index)?.Dispose());
            Tensor nothing = (use.dim() == 0 ? use.unsqueeze(0) : use).narrow(0, 0, 0).sum().neg();
            tie = tie is null ? nothing : tie.to(nothing.dtype).to(nothing.device) + nothing;
        }

        return tie ?? tensor(-0.0f, requires_grad: true);
    }

    private Tensor? OnOutputGradient(Tensor gradient)
    {
        try
        {
            Recompute(gradient);
            if (!TensorHook.KeepsGraph)
            {
                FreeInputs();
            }

            return null;
        }
#pragma warning disable CA1031 // an exception must not cross libtorch's frames
        catch (Exception e)
#pragma warning restore CA1031
        {
            // A gradient of a wrong shape makes libtorch fail the whole backward, on the thread that called it.
            _failure.Keep(e);
            return zeros(gradient.numel() + 1, gradient.dtype, gradient.device);
        }
    }

    private void Recompute(Tensor outputGradient)
    {
        if (_inputs is null)
        {
            throw new InvalidOperationException("backward went through a checkpointed block a second time, and its inputs "
                + "are freed; call the first backward with retain_graph: true");
        }

        using DisposeScope scope = NewDisposeScope();
        using IDisposable grad = enable_grad();
        using RandomSnapshot? afterwards = _random is null ? null : new RandomSnapshot(_cudaDevice);
        _random?.Restore();
        try
        {
            Tensor[] inputs = [.. _inputs.Select(input => input.Restore())];
            Tensor output = _block(inputs);
            if (!output.shape.AsSpan().SequenceEqual(outputGradient.shape))
            {
                throw new InvalidOperationException("a checkpointed block gave the shape "
                    + $"[{string.Join(", ", outputGradient.shape)}] in forward and [{string.Join(", ", output.shape)}] when "
                    + "computed again; it must depend on nothing but its inputs, its parameters and random numbers");
            }

            if (output.requires_grad)
            {
                output.backward([outputGradient]);
            }

            for (int i = 0; i < inputs.Length; i++)
            {
                _gradients[i]?.Dispose();
                _gradients[i] = inputs[i].requires_grad ? inputs[i].grad?.DetachFromDisposeScope() : null;
            }
        }
        finally
        {
            afterwards?.Restore();
        }
    }

    private Tensor? TakeGradient(int index) => Interlocked.Exchange(ref _gradients[index], null);

    // After a backward that keeps no graph, or when the graph goes without one.
    private void FreeInputs()
    {
        if (Interlocked.Exchange(ref _inputs, null) is { } inputs)
        {
            foreach (KeptInput input in inputs)
            {
                input.Dispose();
            }

            _random?.Dispose();
        }
    }
}
