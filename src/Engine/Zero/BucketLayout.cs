namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Gradients that are reduced together.</summary>
/// <param name="Elements">Elements of the bucket.</param>
/// <param name="Slots">Its parameters, from the last.</param>
/// <param name="Cut">The elements that each rank owns.</param>
/// <param name="OwnOffset">Where this rank's part of it begins in the rank's shard.</param>
internal sealed record ReductionBucket(long Elements, IReadOnlyList<int> Slots, IReadOnlyList<ElementRange> Cut, long OwnOffset);

/// <summary>How gradients lie in buckets that are reduced to their owners.</summary>
internal interface IBucketLayout
{
    /// <summary>The buckets, in the order in which they are sent.</summary>
    IReadOnlyList<ReductionBucket> Buckets { get; }

    /// <summary>Copies a gradient to its place, or adds it to what is there.</summary>
    /// <param name="bucket">The parameter's bucket.</param>
    /// <param name="buffer">[elements of the bucket].</param>
    /// <param name="slot">The parameter.</param>
    /// <param name="gradient">[n] its gradient, in one dimension.</param>
    /// <param name="adds">Whether to add.</param>
    void Put(ReductionBucket bucket, Tensor buffer, int slot, Tensor gradient, bool adds);
}

/// <summary>Stages 1 and 2: a bucket is a range of the flat buffer.</summary>
internal sealed class FlatBuckets : IBucketLayout
{
    private readonly FlatParameters _parameters;
    private readonly long[] _starts; // of the bucket of each slot

    /// <param name="parameters">The flat buffers.</param>
    /// <param name="elements">Largest number of elements of a bucket; a larger parameter goes alone.</param>
    public FlatBuckets(FlatParameters parameters, long elements)
    {
        _parameters = parameters;
        _starts = new long[parameters.Slots.Count];
        Buckets = [.. GradientBuckets.Split(parameters.Slots, elements, new HashSet<int>()).Select(slots =>
        {
            long start = parameters.Slots[slots[^1]].Offset; // listed from the last
            Array.ForEach(slots, slot => _starts[slot] = start);
            var range = new ElementRange(start, parameters.Slots[slots[0]].Range.End - start);
            return new ReductionBucket(range.Length, slots, parameters.Shards.Cut(range), Math.Max(start, parameters.Own.Start) - parameters.Own.Start);
        })];
    }

    /// <inheritdoc/>
    public IReadOnlyList<ReductionBucket> Buckets { get; }

    /// <inheritdoc/>
    public void Put(ReductionBucket bucket, Tensor buffer, int slot, Tensor gradient, bool adds)
    {
        Tensor place = buffer.narrow(0, _parameters.Slots[slot].Offset - _starts[slot], gradient.numel());
        _ = adds ? place.add_(gradient) : place.copy_(gradient);
    }
}

/// <summary>Stage 3: in a bucket the parts of one rank follow each other.</summary>
internal sealed class PartitionedBuckets : IBucketLayout
{
    private readonly FlatParameters _parameters;
    private readonly int _ranks;

    /// <param name="parameters">The shards.</param>
    /// <param name="elements">As for <see cref="FlatBuckets"/>; padding does not count.</param>
    public PartitionedBuckets(FlatParameters parameters, long elements)
    {
        (_parameters, _ranks) = (parameters, parameters.Shards.WorldSize);
        Buckets = [.. GradientBuckets.Split(parameters.Slots, elements, new HashSet<int>()).Select(slots =>
        {
            var bucket = new ParameterPartition(0, _ranks, slots.Sum(slot => parameters.CutOf(slot).PartElements));
            return new ReductionBucket(bucket.PaddedElements, slots, bucket.Parts(), parameters.Slots[slots[^1]].Offset);
        })];
    }

    /// <inheritdoc/>
    public IReadOnlyList<ReductionBucket> Buckets { get; }

    /// <inheritdoc/>
    public void Put(ReductionBucket bucket, Tensor buffer, int slot, Tensor gradient, bool adds)
    {
        long part = _parameters.CutOf(slot).PartElements;
        if (part == 0)
        {
            return;
        }

        long offset = _parameters.Slots[slot].Offset - bucket.OwnOffset;
        Tensor rows = buffer.view(_ranks, -1); // [ranks, parts of the bucket]
        long full = gradient.numel() / part; // parts without padding
        Move(rows.narrow(0, 0, full).narrow(1, offset, part), gradient.narrow(0, 0, full * part).view(full, part));
        long rest = gradient.numel() - full * part;
        if (rest > 0)
        {
            Move(rows.narrow(0, full, 1).narrow(1, offset, rest), gradient.narrow(0, full * part, rest).view(1, rest));
        }

        void Move(Tensor place, Tensor values) => _ = adds ? place.add_(values) : place.copy_(values);
    }
}
