using System.Runtime.ExceptionServices;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Stage 2 (P_os+g): stage 1, and every rank keeps the gradients of its own shard only.</summary>
/// <remarks>
/// Every backward is reduced. A gradient is copied into its bucket as soon as it is there and freed; a full bucket is
/// summed at the owners of its parts, and each owner adds its part to its shard of the gradients. With
/// <c>overlap_comm</c> a second buffer fills meanwhile. Buckets are the same ranges as in stages 0 and 1 and are sent in
/// the same order on every rank; a gradient that comes before its bucket's turn waits in the parameter's <c>grad</c>.
/// Rajbhandari et al., "ZeRO", 2020, section 5.2.
/// </remarks>
internal sealed class Stage2Gradients : IZeroStage
{
    private sealed record Sent(ReductionBucket Bucket, Tensor Filled, Work Summed);

    private readonly FlatParameters _parameters;
    private readonly ProcessGroup _group;
    private readonly ZeroConfig _config;
    private readonly AveragingPlan _averaging;
    private readonly ScalarType _travelling;
    private readonly IBucketLayout _layout;
    private readonly IReadOnlyList<ReductionBucket> _buckets;
    private readonly int[] _bucketOf;
    private readonly int[] _missing; // parameters of each bucket whose gradient has not come in this backward
    private readonly bool[] _seen;
    private readonly bool[] _taken; // already copied into the bucket
    private readonly Tensor?[] _buffers; // [longest bucket]; they exist while a backward runs
    private readonly Sent?[] _sent;
    private readonly CudaEvent?[] _taking; // the marks after which the host has what it takes of a buffer
    private int _current; // the bucket that is being filled
    private bool _reducing;
    private Exception? _hookError;

    /// <param name="parameters">Flat buffers of stage 2.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="config">Bucket sizes, overlap, and which collective.</param>
    /// <param name="averaging">What gradients are multiplied by before they travel.</param>
    /// <param name="travelling">Element type of the gradients between ranks.</param>
    /// <param name="layout">How gradients lie in buckets; null is a flat buffer.</param>
    public Stage2Gradients(FlatParameters parameters, ProcessGroup group, ZeroConfig config, AveragingPlan averaging,
        ScalarType travelling, IBucketLayout? layout = null)
    {
        (_parameters, _group, _config, _averaging, _travelling) = (parameters, group, config, averaging, travelling);
        _layout = layout ?? new FlatBuckets(parameters, config.ReduceBucketSize);
        _buckets = _layout.Buckets;
        IReadOnlyList<ParameterSlot> slots = parameters.Slots;
        _bucketOf = new int[slots.Count];
        for (int i = 0; i < _buckets.Count; i++)
        {
            foreach (int slot in _buckets[i].Slots)
            {
                _bucketOf[slot] = i;
            }
        }

        (_missing, _seen, _taken) = (new int[_buckets.Count], new bool[slots.Count], new bool[slots.Count]);
        _buffers = new Tensor?[config.OverlapComm ? 2 : 1];
        _sent = new Sent?[_buffers.Length];
        _taking = new CudaEvent?[_buffers.Length];
        for (int i = 0; i < slots.Count; i++)
        {
            int slot = i; // the callback must not capture the parameter itself
            GradientHook.Register(parameters.Leaf(i), () => OnGradientReady(slot));
        }
    }

    public bool ReducesEveryBackward => true;

    /// <summary>Elements of the buffers that exist now: none between two backwards.</summary>
    public long BufferElements => _buffers.Sum(buffer => buffer?.numel() ?? 0);

    public void Begin()
    {
        Array.Clear(_seen);
        Array.Clear(_taken);
        for (int i = 0; i < _buckets.Count; i++)
        {
            _missing[i] = _buckets[i].Slots.Count;
        }

        (_current, _reducing) = (0, true);
        Open();
    }

    public void Finish()
    {
        _reducing = false;
        try
        {
            // Also after an error: the other ranks wait for these sums.
            while (_hookError is not PeerLostException && _current < _buckets.Count)
            {
                SendCurrent();
            }

            for (int i = 0; i < _sent.Length; i++)
            {
                Complete(i);
            }

            switch (_hookError)
            {
                case PeerLostException:
                    ExceptionDispatchInfo.Throw(_hookError);
                    break;
                case { } error:
                    throw new InvalidOperationException($"reducing gradients during backward failed: {error.Message}", error);
            }
        }
        finally
        {
            _hookError = null;
            Release();
        }

        if (!_config.IgnoreUnusedParameters)
        {
            UnusedParameters.ThrowIfAny(_parameters.Slots, _seen);
        }
    }

    public void ThrowIfUnreduced()
    {
        for (int i = 0; i < _parameters.Slots.Count; i++)
        {
            using Tensor? left = _parameters.Leaf(i).grad;
            if (left is not null)
            {
                throw new InvalidOperationException($"{_parameters.Slots[i].Name} has a gradient that was not sent to its owner: backward was "
                    + "called on a loss itself; call engine.Backward(loss), or engine.Scale(loss).backward()");
            }
        }
    }

    public void ClearGradients()
    {
        _parameters.ClearGradients();
        for (int i = 0; i < _parameters.Slots.Count; i++)
        {
            _parameters.Leaf(i).grad = null;
        }
    }

    public void GatherWeights() => _parameters.GatherWeights(_group, _config.AllGatherBucketSize);

    public void Dispose()
    {
        for (int i = 0; i < _parameters.Slots.Count; i++)
        {
            GradientHook.Clear(_parameters.Leaf(i));
        }

        Release();
    }

    private void OnGradientReady(int slot)
    {
        if (!_reducing || _hookError is not null)
        {
            return;
        }

        try
        {
            int bucket = _bucketOf[slot];
            if (bucket < _current)
            {
                throw new InvalidOperationException($"{_parameters.Slots[slot].Name} got another part of its gradient after it was "
                    + "sent to its owner: it is used in several checkpointed blocks; leave one of them out of checkpointing");
            }

            if (!_seen[slot])
            {
                _seen[slot] = true;
                _missing[bucket]--;
            }

            if (bucket == _current && _config.ContiguousGradients)
            {
                Take(slot);
            }

            while (_current < _buckets.Count && _missing[_current] == 0)
            {
                SendCurrent();
            }
        }
#pragma warning disable CA1031 // an exception must not cross libtorch's frames; Finish reports it
        catch (Exception e)
#pragma warning restore CA1031
        {
            _hookError = e;
        }
    }

    // Makes the buffer of the current bucket empty: what backward does not reach, and the gaps between parameters, are zeros.
    private void Open()
    {
        if (_current == _buckets.Count)
        {
            return;
        }

        int place = _current % _buffers.Length;
        Complete(place);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _buffers[place] ??= zeros(_buckets.Max(b => b.Elements), _travelling, _parameters.Device).DetachFromDisposeScope();
        _parameters.Offload?.Gradients.ComputingAfter(_taking[place]);
        _taking[place] = null;
        _buffers[place]!.narrow(0, 0, _buckets[_current].Elements).zero_();
    }

    // Moves a gradient into the current bucket and frees it.
    private void Take(int slot)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        TorchSharp.Modules.Parameter leaf = _parameters.Leaf(slot);
        if (leaf.grad is not { } gradient)
        {
            return;
        }

        ReductionBucket bucket = _buckets[_current];
        _layout.Put(bucket, _buffers[_current % _buffers.Length]!.narrow(0, 0, bucket.Elements), slot,
            gradient.reshape(gradient.numel()), _taken[slot]);
        _taken[slot] = true;
        leaf.grad = null;
        gradient.Dispose();
    }

    private void SendCurrent()
    {
        ReductionBucket bucket = _buckets[_current];
        foreach (int slot in bucket.Slots)
        {
            Take(slot);
        }

        int place = _current % _buffers.Length;
        using (DisposeScope scope = NewDisposeScope())
        using (IDisposable noGrad = no_grad())
        {
            Tensor filled = _buffers[place]!.narrow(0, 0, bucket.Elements).DetachFromDisposeScope();
            if (_averaging.Before != 1)
            {
                filled.mul_(_averaging.Before);
            }

            string name = $"gradient bucket {_current}";
            _sent[place] = new Sent(bucket, filled,
                _config.ReduceScatter ? _group.ReduceScatterAsync(filled, bucket.Cut, name) : _group.AllReduceAsync(filled, name));
        }

        if (!_config.OverlapComm)
        {
            Complete(place);
        }

        _current++;
        Open();
    }

    // Waits for a bucket and adds this rank's part of the sum to its shard.
    private void Complete(int place)
    {
        if (_sent[place] is not { } sent)
        {
            return;
        }

        _sent[place] = null;
        using Tensor filled = sent.Filled;
        sent.Summed.Wait();
        ElementRange part = sent.Bucket.Cut[_group.Rank];
        if (part.Length > 0)
        {
            using Tensor sums = filled.narrow(0, part.Start, part.Length).DetachFromDisposeScope();
            _taking[place] = _parameters.AddToOwnGradients(sent.Bucket.OwnOffset, sums);
        }
    }

    private void Release()
    {
        for (int i = 0; i < _buffers.Length; i++)
        {
            if (_sent[i] is { } sent)
            {
                // After a failure: the collective reads and writes the buffer until it ends.
                try
                {
                    sent.Summed.Wait();
                }
                catch (PeerLostException)
                {
                    // It has been reported, or is about to be.
                }

                sent.Filled.Dispose();
            }

            _parameters.Offload?.Gradients.ComputingAfter(_taking[i]); // what takes the memory next comes later
            _buffers[i]?.Dispose();
            (_sent[i], _buffers[i], _taking[i]) = (null, null, null);
        }
    }
}
