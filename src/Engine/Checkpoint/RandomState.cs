namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The state of this process's random numbers, so that dropout goes on where it was.</summary>
internal static class RandomState
{
    public static Tensor Get() => TorchSharp.torch.get_rng_state();

    public static void Set(Tensor state) => TorchSharp.torch.set_rng_state(state);
}
