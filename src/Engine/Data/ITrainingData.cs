namespace DeepSpeedSharp.Engine.Data;

/// <summary>Samples to train on.</summary>
/// <typeparam name="TBatch">What a micro batch is, for example a pair of tensors.</typeparam>
/// <remarks>
/// With prefetching, <see cref="Batch"/> runs on a thread of the loader's own, one call at a time. There is no dispose
/// scope on it: dispose what is not part of the result. Random numbers of libtorch are shared with the model there, so
/// draw those for augmentation from a generator of your own.
/// </remarks>
public interface ITrainingData<TBatch>
{
    /// <summary>Number of samples.</summary>
    long Count { get; }

    /// <summary>Puts samples together.</summary>
    /// <param name="indices">Indices of the samples, each below <see cref="Count"/>.</param>
    /// <returns>The micro batch; the caller disposes its tensors.</returns>
    TBatch Batch(IReadOnlyList<long> indices);
}
