namespace DeepSpeedSharp.Engine.Data;

/// <summary>Gives this rank's micro batches one after the other, without end.</summary>
/// <typeparam name="TBatch">What a micro batch is.</typeparam>
/// <param name="data">The samples.</param>
/// <param name="sampler">Which samples belong to which micro batch.</param>
public sealed class DataLoader<TBatch>(ITrainingData<TBatch> data, DistributedSampler sampler) : IDataPosition
{
    /// <summary>Number of the next micro batch; a checkpoint restores it.</summary>
    public long Position { get; set; }

    /// <summary>The next micro batch.</summary>
    /// <returns>The micro batch; the caller disposes its tensors.</returns>
    public TBatch Next() => data.Batch(sampler.Indices(Position++));
}

/// <summary>Where a data loader stands, whatever its batches are.</summary>
public interface IDataPosition
{
    /// <summary>Number of the next micro batch.</summary>
    long Position { get; set; }
}
