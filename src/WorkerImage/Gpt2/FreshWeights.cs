using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Where and in which type a model is built, while it is in force.</summary>
/// <remarks>In ZeRO stage 3 each part is cut into shards as soon as it is made, so that a model may be larger than any one
/// process. On a GPU and in 16 bits (<c>--fast-init</c>) billions of weights take a second; the masters start from the
/// rounded ones.</remarks>
internal sealed class FreshWeights : IDisposable
{
    private readonly Device _device = get_default_device();
    private readonly ScalarType _type = get_default_dtype();
    private readonly IDisposable? _partitioning;

    /// <param name="config">The config.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="device">Where training runs.</param>
    /// <param name="isFast">Builds there and in the type of training.</param>
    public FreshWeights(DeepSpeedConfig config, ProcessGroup group, Device device, bool isFast)
    {
        _partitioning = config.Zero.Stage == 3 ? DeepSpeed.Zero.Init(group) : null;
        if (isFast)
        {
            set_default_device(device);
            set_default_dtype(config.Bf16.Enabled ? bfloat16 : config.Fp16.Enabled ? float16 : float32);
        }
    }

    public void Dispose()
    {
        set_default_device(_device);
        set_default_dtype(_type);
        _partitioning?.Dispose();
    }
}
