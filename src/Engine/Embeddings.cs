using TorchSharp;

namespace DeepSpeedSharp.Engine;

/// <summary>Finds the parameters whose gradients are rows of an embedding.</summary>
internal static class Embeddings
{
    /// <summary>Slots of all embedding weights of a model.</summary>
    public static IReadOnlySet<int> SlotsOf(torch.nn.Module model, FlatParameters parameters)
    {
        HashSet<nint> weights = [.. model.modules().Select(module => module switch
        {
            TorchSharp.Modules.Embedding embedding => embedding.weight?.Handle,
            TorchSharp.Modules.EmbeddingBag bag => bag.weight?.Handle,
            _ => null,
        }).OfType<nint>()];
        return Enumerable.Range(0, parameters.Slots.Count).Where(i => weights.Contains(parameters.Leaf(i).Handle)).ToHashSet();
    }
}
