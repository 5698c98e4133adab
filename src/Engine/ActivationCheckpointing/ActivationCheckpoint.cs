using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>Trades time for memory: a block's inner activations are not kept for backward but computed again.</summary>
/// <remarks>
/// <para>Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. Costs one more forward of the block and, of
/// its output's size, one addition and one reduction; keeps the block's inputs only.</para>
/// <para>Gradients are bit for bit those of the plain block. The parameters' gradients are accumulated into
/// <c>.grad</c> by a backward inside the backward: hooks and preset gradients work, but a parameter used in several
/// blocks accumulates once per block, <c>autograd.grad</c> for parameters inside a block and <c>create_graph</c> do
/// not work, and a module that counts its forwards, as BatchNorm does, counts twice.</para>
/// </remarks>
public static class ActivationCheckpoint
{
    /// <summary>Runs a block of one input; without gradients being recorded it simply runs.</summary>
    /// <param name="block">Computes the output from the input; called again in backward with a tensor of the same
    /// values. Must give the same result then, and must not change the input in place.</param>
    /// <param name="input">The input, of any shape; its memory is kept until backward.</param>
    /// <param name="options">How to keep the input; null means the defaults.</param>
    /// <returns>The block's output, of floating point; the caller disposes it.</returns>
    /// <exception cref="InvalidOperationException">The output is not of floating point.</exception>
    public static Tensor Checkpoint(Func<Tensor, Tensor> block, Tensor input, CheckpointOptions? options = null) =>
        Checkpoint(inputs => block(inputs[0]), [input], options);

    /// <summary>Runs a block of several inputs; without gradients being recorded it simply runs.</summary>
    /// <param name="block">As above, with all inputs in order.</param>
    /// <param name="inputs">The inputs, at least one; those that need a gradient get one.</param>
    /// <param name="options">As above.</param>
    /// <returns>As above.</returns>
    /// <exception cref="InvalidOperationException">As above.</exception>
    public static Tensor Checkpoint(
        Func<IReadOnlyList<Tensor>, Tensor> block, IReadOnlyList<Tensor> inputs, CheckpointOptions? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfZero(inputs.Count);
        TorchRuntime.Load();
        return is_grad_enabled()
            ? CheckpointedBlock.Run(block, inputs, options ?? new CheckpointOptions(), RecomputeFailure.OfThisThread)
            : block(inputs);
    }

    /// <summary>Throws what a block threw when it was computed again, if one did.</summary>
    /// <remarks>
    /// An exception cannot pass through libtorch, so a failing block only makes <c>backward</c> fail with a message
    /// about a hook. Call this then, on the thread that ran the forward; the engine's own backward does.
    /// </remarks>
    public static void ThrowIfFailed() => RecomputeFailure.OfThisThread.ThrowIfAny();
}
