using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine;

/// <content>When gradients are summed over ranks.</content>
public sealed partial class DeepSpeedEngine
{
    private string? _notSyncing; // the call that holds the sum over ranks back

    /// <summary>Keeps gradients on this rank until the returned object is disposed; backward only accumulates.</summary>
    /// <returns>Dispose it to sum over ranks again.</returns>
    /// <exception cref="InvalidOperationException">Already inside one, or inside <see cref="CoalesceGradReduction"/>; or ZeRO
    /// stage 2, which keeps no gradients that are not summed.</exception>
    public IDisposable NoSync()
    {
        if (_zero.ReducesEveryBackward)
        {
            throw new InvalidOperationException($"NoSync() does not exist in ZeRO stage {_config.Zero.Stage}: each backward's gradients "
                + "go to their owners at once; use zero_optimization.stage 0 or 1, or CoalesceGradReduction()");
        }

        ThrowIfNotSyncing(nameof(NoSync));
        _notSyncing = nameof(NoSync);
        return new Ending(() => _notSyncing = null);
    }

    /// <summary>Several backward calls, one sum over ranks when the returned object is disposed.</summary>
    /// <returns>Dispose it to sum; at a micro batch that does not end a step it only accumulates, except in ZeRO stage 2.</returns>
    /// <exception cref="InvalidOperationException">Already inside one, or inside <see cref="NoSync"/>.</exception>
    public IDisposable CoalesceGradReduction()
    {
        ThrowIfNotSyncing(nameof(CoalesceGradReduction));
        _notSyncing = nameof(CoalesceGradReduction);
        return new Ending(() =>
        {
            _notSyncing = null;
            if (_zero.ReducesEveryBackward)
            {
                Reduce();
            }
            else if (IsGradientAccumulationBoundary)
            {
                AllReduceGradients();
            }
        });
    }

    /// <summary>Sums the gradients of this step over ranks now, unless backward has done so. <see cref="Step"/> calls it.</summary>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllReduceGradients()
    {
        ThrowIfMoved(nameof(AllReduceGradients));
        ThrowIfNotSyncing(nameof(AllReduceGradients));
        FinishReduction(); // a backward of the caller's own has nobody to end it
        if (!_isReduced && !_zero.ReducesEveryBackward)
        {
            Reduce();
        }

        _zero.ThrowIfUnreduced();
    }

    /// <summary>Says whether the next <see cref="Step"/> updates the parameters, instead of counting micro batches.</summary>
    /// <param name="isBoundary">Stays in force for all following steps, as in DeepSpeed.</param>
    public void SetGradientAccumulationBoundary(bool isBoundary) => _boundary = isBoundary;

    /// <summary>Forgets the gradients of this step. Not needed in the usual loop: <see cref="Step"/> clears them.</summary>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void ZeroGrad()
    {
        ThrowIfMoved(nameof(ZeroGrad));
        FinishReduction(); // of a backward that failed half-way: the other ranks wait for its sums
        _zero.ClearGradients();
        _report.Clear();
        (_isReduced, _isReducing) = (false, false);
    }

    // Buckets leave while backward runs only when this is surely the last backward of the step. Where the caller
    // decides on boundaries, more may follow, so the sum waits for Step.
    private void BeginReduction()
    {
        FinishReduction();
        if (_isReduced && Group.WorldSize > 1 && !_zero.ReducesEveryBackward)
        {
            throw new InvalidOperationException("this step's gradients were already summed over ranks by an earlier "
                + "Backward; add the losses and call Backward once, or put all Backward calls of the micro batch into CoalesceGradReduction()");
        }

        bool isLast = _boundary is null && _config.ManagedGradientAccumulation && IsGradientAccumulationBoundary;
        if (_notSyncing is null && (isLast || _zero.ReducesEveryBackward))
        {
            _zero.Begin();
            _isReducing = true;
        }
    }

    private void FinishReduction()
    {
        if (_isReducing)
        {
            _isReducing = false;
            _observer?.BeforeReduce();
            _zero.Finish();
            _observer?.AfterReduce();
            _isReduced = true;
        }
    }

    private void Reduce()
    {
        _observer?.BeforeReduce();
        _zero.Begin();
        _zero.Finish();
        _isReduced = true;
        _observer?.AfterReduce();
    }

    private void ThrowIfNotSyncing(string call)
    {
        if (_notSyncing is not null)
        {
            throw new InvalidOperationException($"{call} was called inside {_notSyncing}(); dispose what {_notSyncing}() returned first");
        }
    }

    private sealed class Ending(Action end) : IDisposable
    {
        private Action? _end = end;

        public void Dispose() => Interlocked.Exchange(ref _end, null)?.Invoke();
    }
}
