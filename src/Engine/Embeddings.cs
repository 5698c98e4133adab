using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine;

/// <summary>Finds the parameters whose gradients are rows of an embedding.</summary>
internal static class Embeddings
{
    /// <summary>Slots of all embedding weights of a model.</summary>
    public static IReadOnlySet<int> SlotsOf(torch.nn.Module model, FlatParameters parameters)
    {
        // By the place of the data: a module may hand out another handle each time.
        HashSet<nint> weights = [.. model.modules().Prepend(model).Select(module => module switch
        {
            TorchSharp.Modules.Embedding embedding => embedding.weight,
            TorchSharp.Modules.EmbeddingBag bag => bag.weight,
            _ => (torch.Tensor?)null,
        }).OfType<torch.Tensor>().Select(TensorMemory.Address)];
        return Enumerable.Range(0, parameters.Slots.Count).Where(i => weights.Contains(TensorMemory.Address(parameters.Leaf(i)))).ToHashSet();
    }
}
