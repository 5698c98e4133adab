using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.ActivationCheckpointing;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Gpt2;

/// <summary>Which blocks of a model are computed again in backward instead of keeping their activations.</summary>
/// <param name="Segments">Number of runs of blocks that keep only their input.</param>
/// <param name="Options">Where the inputs are kept.</param>
internal sealed record ActivationPlan(int Segments, CheckpointOptions Options)
{
    /// <summary>The plan of a config and of <c>--gradient-checkpointing</c>; null keeps all activations.</summary>
    /// <param name="config">Its section; asking for a number of checkpoints, or for them on the CPU, asks for them.</param>
    /// <param name="isAsked">The option.</param>
    /// <param name="blocks">Number of blocks.</param>
    public static ActivationPlan? From(ActivationCheckpointingConfig config, bool isAsked, int blocks) =>
        isAsked || config.NumberCheckpoints is not null || config.CpuCheckpointing
            ? new ActivationPlan(Math.Min(config.NumberCheckpoints ?? blocks, blocks), CheckpointOptions.From(config)) : null;

    /// <summary>Runs blocks one after the other, segment by segment.</summary>
    public Tensor Run(IReadOnlyList<nn.Module<Tensor, Tensor>> blocks, Tensor x)
    {
        for (int segment = 0; segment < Segments; segment++)
        {
            (int first, int end) = (blocks.Count * segment / Segments, blocks.Count * (segment + 1) / Segments);
            x = ActivationCheckpoint.Checkpoint(input =>
            {
                for (int i = first; i < end; i++)
                {
                    input = blocks[i].call(input);
                }

                return input;
            }, x, Options);
        }

        return x;
    }
}
