using System.Runtime.ExceptionServices;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>Sums gradients over ranks in buckets, each as soon as backward has filled it.</summary>
/// <remarks>
/// Backward produces gradients roughly from the last parameter to the first, so bucket 0 holds the last parameters. A
/// bucket is only started after all buckets before it, because every rank must start the same collectives in the same
/// order, whichever gradients come first. Parameters that backward did not reach contribute zeros.
/// Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020, section 3.2.
/// </remarks>
internal sealed class GradientBuckets : IDisposable
{
    private sealed record Bucket(Tensor Range, long Offset, IReadOnlyList<int> Slots, EmbeddingRows? Rows);

    // A sum under way; the copy is in another type, and goes back into the bucket.
    private readonly record struct Sum(Bucket Bucket, Work Work, Tensor? Copy);

    private readonly FlatParameters _parameters;
    private readonly ProcessGroup _group;
    private readonly AveragingPlan _averaging;
    private readonly ScalarType _travelling;
    private readonly List<Bucket> _buckets = [];
    private readonly int[] _bucketOf;
    private readonly int[] _missing;
    private readonly bool[] _seen; // parameters whose gradient this backward has produced
    private readonly List<Sum> _running = [];
    private readonly bool _overlap;
    private bool _hasHooks;
    private bool _reducing;
    private Exception? _hookError;

    /// <param name="parameters">The flat buffers.</param>
    /// <param name="group">The ranks to sum over.</param>
    /// <param name="bucketElements">Largest number of elements of a bucket; a larger parameter has one of its own.</param>
    /// <param name="averaging">What to multiply by before the sum.</param>
    /// <param name="travelling">Element type of the gradients between ranks.</param>
    /// <param name="embeddings">Slots whose gradients are reduced row by row where that is less to send.</param>
    /// <param name="overlap">False starts everything after backward: the plain way, which tests compare with.</param>
    public GradientBuckets(FlatParameters parameters, ProcessGroup group, long bucketElements, AveragingPlan averaging,
        ScalarType travelling, IReadOnlySet<int> embeddings, bool overlap = true)
    {
        (_parameters, _group, _averaging, _travelling, _overlap) = (parameters, group, averaging, travelling, overlap);
        _bucketOf = new int[parameters.Slots.Count];
        foreach (int[] slots in Split(parameters.Slots, bucketElements, embeddings))
        {
            ParameterSlot first = parameters.Slots[slots[^1]]; // the lowest offset: slots are listed from the last
            ParameterSlot last = parameters.Slots[slots[0]];
            Tensor range = parameters.Gradients.narrow(0, first.Offset, last.Offset + last.Elements - first.Offset)
                .DetachFromDisposeScope();
            foreach (int slot in slots)
            {
                _bucketOf[slot] = _buckets.Count;
            }

            _buckets.Add(new Bucket(range, first.Offset, slots, embeddings.Contains(slots[0])
                ? new EmbeddingRows(FlatParameters.View(parameters.Gradients, first).DetachFromDisposeScope(), first.Name) : null));
        }

        _missing = new int[_buckets.Count];
        _seen = new bool[parameters.Slots.Count];
    }

    /// <summary>Sums each part of a bucket at its owner only, by reduce-scatter; null sums everything on every rank.</summary>
    public ShardMap? Owners { get; init; }

    /// <summary>Whether a parameter that backward does not reach is an error.</summary>
    public bool RefusesUnused { get; init; }

    public int Count => _buckets.Count;

    /// <summary>Call before the last backward of a step: buckets are summed as it fills them.</summary>
    public void Begin()
    {
        RegisterHooks();
        _reducing = true;
        Array.Clear(_seen);
        for (int i = 0; i < _buckets.Count; i++)
        {
            _missing[i] = _buckets[i].Slots.Count;
        }
    }

    /// <summary>Call after that backward: starts what backward did not reach, and waits until all sums are there.</summary>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Finish()
    {
        _reducing = false;
        try
        {
            // Also after an error: the other ranks wait for these sums, and sums under way write to the gradients.
            StartThrough(_group.WorldSize > 1 ? _buckets.Count : 0);
            CompleteAll();

            if (_hookError is { } error)
            {
                throw new InvalidOperationException($"reducing gradients during backward failed: {error.Message}", error);
            }
        }
        finally
        {
            _running.Clear();
            _hookError = null;
        }

        if (RefusesUnused)
        {
            UnusedParameters.ThrowIfAny(_parameters.Slots, _seen);
        }
    }

    public void Dispose()
    {
        for (int i = 0; i < _parameters.Slots.Count && _hasHooks; i++)
        {
            GradientHook.Clear(_parameters.Leaf(i));
        }

        foreach (Bucket bucket in _buckets)
        {
            bucket.Range.Dispose();
            bucket.Rows?.Dispose();
        }
    }

    /// <summary>Cuts the parameters into buckets, from the last to the first. A parameter that is reduced by rows has
    /// one of its own.</summary>
    internal static IEnumerable<int[]> Split(
        IReadOnlyList<ParameterSlot> slots, long bucketElements, IReadOnlySet<int> alone)
    {
        var bucket = new List<int>();
        long elements = 0;
        for (int i = slots.Count - 1; i >= 0; i--)
        {
            bool isFull = elements + slots[i].Elements > bucketElements || alone.Contains(i) || alone.Contains(i + 1);
            if (bucket.Count > 0 && isFull)
            {
                yield return [.. bucket];
                bucket.Clear();
                elements = 0;
            }

            bucket.Add(i);
            elements += slots[i].Elements;
        }

        yield return [.. bucket];
    }

    private void RegisterHooks()
    {
        if (_hasHooks || (_group.WorldSize == 1 && !RefusesUnused))
        {
            return;
        }

        _hasHooks = true;
        for (int i = 0; i < _parameters.Slots.Count; i++)
        {
            int slot = i; // the callback must not capture the parameter itself
            GradientHook.Register(_parameters.Leaf(i), () => OnGradientReady(slot));
        }
    }

    private void OnGradientReady(int slot)
    {
        if (!_reducing)
        {
            return;
        }

        if (_seen[slot])
        {
            // A parameter of several checkpointed blocks gets its gradient in parts.
            if (_bucketOf[slot] < _running.Count)
            {
                _hookError ??= new InvalidOperationException($"{_parameters.Slots[slot].Name} got another part of its gradient "
                    + "after it was sent to the other ranks: it is used in several checkpointed blocks; leave one of them out of checkpointing");
            }

            return;
        }

        _seen[slot] = true;
        if (!_overlap || _group.WorldSize == 1)
        {
            return;
        }

        try
        {
            _missing[_bucketOf[slot]]--;
            StartThrough(_missing.TakeWhile(missing => missing == 0).Count());
        }
#pragma warning disable CA1031 // an exception must not cross libtorch's frames; Finish reports it
        catch (Exception e)
#pragma warning restore CA1031
        {
            _hookError ??= e;
        }
    }

    private void StartThrough(int count)
    {
        using IDisposable noGrad = no_grad();
        for (int i = _running.Count; i < count; i++)
        {
            _running.Add(Start(_buckets[i], $"gradient bucket {i}"));
        }
    }

    private Sum Start(Bucket bucket, string name)
    {
        if (_averaging.Before != 1)
        {
            bucket.Range.mul_(_averaging.Before).DetachFromDisposeScope();
        }

        if (bucket.Rows is { } rows)
        {
            return new Sum(bucket, new Work(rows.SumAsync(_group, _travelling)), null);
        }

        Tensor? copy = bucket.Range.dtype == _travelling ? null : bucket.Range.to(_travelling).DetachFromDisposeScope();
        Tensor values = copy ?? bucket.Range;
        return new Sum(bucket, Owners is null ? _group.AllReduceAsync(values, name)
            : _group.ReduceScatterAsync(values, Owners.Cut(new ElementRange(bucket.Offset, values.numel())), name), copy);
    }

    // All of them, also after a failure: a sum under way writes to its copy.
    private void CompleteAll()
    {
        ExceptionDispatchInfo? failure = null;
        foreach (Sum sum in _running)
        {
            try
            {
                Complete(sum);
            }
#pragma warning disable CA1031 // the first failure is thrown below; later ones follow from it
            catch (Exception e)
#pragma warning restore CA1031
            {
                failure ??= ExceptionDispatchInfo.Capture(e);
            }
            finally
            {
                sum.Copy?.Dispose();
            }
        }

        failure?.Throw();
    }

    // On a GPU nothing waits here: what follows is queued behind the sum.
    private static void Complete(Sum sum)
    {
        sum.Work.Wait();
        if (sum.Copy is { } copy)
        {
            using IDisposable noGrad = no_grad();
            sum.Bucket.Range.copy_(copy).DetachFromDisposeScope();
        }
    }
}
