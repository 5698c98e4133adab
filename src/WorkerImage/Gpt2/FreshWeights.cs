using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>While it is in force, models are built where they are trained and in the type they compute in
/// (<c>--fast-init</c>): on a GPU billions of weights take a second, and half the memory. Masters start from the rounded ones.</summary>
internal sealed class FreshWeights : IDisposable
{
    private readonly Device _device = get_default_device();
    private readonly ScalarType _type = get_default_dtype();

    /// <param name="config">The config.</param>
    /// <param name="device">Where training runs.</param>
    public FreshWeights(DeepSpeedConfig config, Device device)
    {
        set_default_device(device);
        set_default_dtype(config.Bf16.Enabled ? bfloat16 : config.Fp16.Enabled ? float16 : float32);
    }

    public void Dispose()
    {
        set_default_device(_device);
        set_default_dtype(_type);
    }
}
