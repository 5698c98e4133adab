using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>An input of a block, kept until backward.</summary>
internal sealed class KeptInput : IDisposable
{
    private readonly Tensor _value;
    private readonly Device _device;
    private readonly bool _requiresGrad;
    private readonly long _version;
    private readonly bool _isShared;

    /// <param name="input">The input; its memory is kept, not copied, unless it moves to the CPU.</param>
    /// <param name="onCpu">Keep it in host memory.</param>
    public KeptInput(Tensor input, bool onCpu)
    {
        (_device, _requiresGrad) = (input.device, input.requires_grad);
        _isShared = !onCpu || input.device_type == DeviceType.CPU;
        using Tensor detached = input.detach();
        _value = (_isShared ? detached.alias() : detached.cpu()).DetachFromDisposeScope();
        _version = _isShared ? TensorMemory.Version(_value) : 0;
    }

    /// <summary>The input as it was, as the start of a new graph; the caller disposes it.</summary>
    /// <exception cref="InvalidOperationException">Its values have been overwritten since.</exception>
    public Tensor Restore()
    {
        if (_isShared && TensorMemory.Version(_value) != _version)
        {
            throw new InvalidOperationException("an input of a checkpointed block was changed in place after the block "
                + "ran, so the block cannot be computed again; use the operation that returns a new tensor (relu "
                + "instead of relu_)");
        }

        using Tensor here = _isShared ? _value.alias() : _value.to(_device);
        return here.detach().requires_grad_(_requiresGrad);
    }

    public void Dispose() => _value.Dispose();
}
