using System.Collections;

namespace DeepSpeedSharp.Engine.Data;

/// <summary>Gives this rank's micro batches: one after the other without end (<see cref="Next"/>), or those of one
/// epoch (<c>foreach</c>).</summary>
/// <typeparam name="TBatch">What a micro batch is.</typeparam>
/// <remarks>Both ways share one position, which checkpoints keep. Not for several threads at once.</remarks>
public sealed class DataLoader<TBatch> : IDataPosition, IEnumerable<TBatch>, IDisposable
{
    private readonly ITrainingData<TBatch> _data;
    private readonly Prefetcher<TBatch>? _prefetcher;
    private long _position;

    /// <summary>Creates the loader at the start of the data.</summary>
    /// <param name="data">The samples; stays the caller's.</param>
    /// <param name="sampler">Which samples belong to which micro batch.</param>
    /// <param name="prefetch">Read each next micro batch on another thread while the current one is in use. See
    /// <see cref="ITrainingData{TBatch}"/> for what that asks of the data.</param>
    public DataLoader(ITrainingData<TBatch> data, BatchSampler sampler, bool prefetch = false)
    {
        (_data, Sampler) = (data, sampler);
        _prefetcher = prefetch ? new Prefetcher<TBatch>(Read) : null;
    }

    /// <summary>Which samples belong to which micro batch.</summary>
    public BatchSampler Sampler { get; }

    /// <summary>Micro batches of an epoch on this rank.</summary>
    public long Count => Sampler.BatchesPerEpoch;

    /// <summary>Number of the next micro batch, counted over the whole run.</summary>
    public long Position
    {
        get => _position;
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            _position = value;
        }
    }

    /// <inheritdoc/>
    public DataPlace Place
    {
        get => Sampler.PlaceOf(_position);
        set => Position = Sampler.PositionOf(value);
    }

    /// <summary>The next micro batch; the next epoch follows the last one.</summary>
    /// <returns>The micro batch; the caller disposes its tensors.</returns>
    public TBatch Next()
    {
        TBatch batch;
        if (_prefetcher is null)
        {
            batch = Read(_position);
        }
        else
        {
            batch = _prefetcher.Take(_position);
            BatchTensors.Adopt(batch);
        }

        _position++;
        return batch;
    }

    /// <summary>The micro batches until the end of the current epoch: all of them, or, after a resume inside an
    /// epoch, the rest.</summary>
    /// <returns>The micro batches; the caller disposes the tensors of each.</returns>
    public IEnumerator<TBatch> GetEnumerator()
    {
        if (Count == 0)
        {
            yield break;
        }

        for (long end = (_position / Count + 1) * Count; _position < end;)
        {
            yield return Next();
        }
    }

    /// <summary>Ends the prefetch thread and frees what it has read ahead.</summary>
    public void Dispose() => _prefetcher?.Dispose();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private TBatch Read(long position) => _data.Batch(Sampler.Indices(position));
}

/// <summary>Where a data loader stands, whatever its batches are.</summary>
public interface IDataPosition
{
    /// <summary>Number of the next micro batch, counted over the whole run.</summary>
    long Position { get; set; }

    /// <summary>The same as a place that another number of ranks understands; what a checkpoint should keep.</summary>
    DataPlace Place { get; set; }
}
