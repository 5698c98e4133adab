namespace DeepSpeedSharp.Engine.Data;

/// <summary>Samples to train on.</summary>
/// <typeparam name="TBatch">What a micro batch is, for example a pair of tensors.</typeparam>
public interface ITrainingData<TBatch>
{
    /// <summary>Number of samples.</summary>
    long Count { get; }

    /// <summary>Puts samples together.</summary>
    /// <param name="indices">Indices of the samples, each below <see cref="Count"/>.</param>
    /// <returns>The micro batch; the caller disposes its tensors.</returns>
    TBatch Batch(IReadOnlyList<long> indices);
}
