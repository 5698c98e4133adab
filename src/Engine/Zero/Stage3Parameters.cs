using System.Runtime.ExceptionServices;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Stage 3 (P_os+g+p): stage 2, and every rank keeps its part of the weights only; a parameter is whole while it is used.</summary>
/// <remarks>
/// <para>A module's parameters are gathered before its forward and released after it, gathered again before its backward, and
/// released when that is done; what comes next in the recorded order is gathered ahead. P elements are received in forward,
/// P in backward, and P are sent in the reduction of gradients, which is stage 2's.</para>
/// <para>Backward of a module begins when the gradient of one of its results arrives, which a hook on the result tells. When
/// it is done no hook tells reliably, but the order of autograd does: nodes run from the last made to the first. So when
/// the backward of a call begins, that of every call that was begun after it had ended is over.</para>
/// Rajbhandari et al., "ZeRO", 2020, section 5.3.
/// </remarks>
internal sealed class Stage3Parameters : IZeroStage
{
    // One call of a module. Times are counts of calls.
    private sealed class Call(int unit, long begun, bool isTraced)
    {
        public int Unit => unit;

        public long Begun => begun;

        public bool IsTraced => isTraced;

        public long Ended { get; set; }

        public bool IsInBackward { get; set; }
    }

    private readonly IReadOnlyList<ParameterUnit> _units;
    private readonly FlatParameters _flat;
    private readonly long _gatherElements;
    private readonly LiveParameters _live;
    private readonly Stage2Gradients _gradients;
    private readonly ModuleHooks[] _hooks;
    private readonly List<Call> _forward = []; // calls that run, the innermost last
    private readonly List<Call> _backward = []; // calls whose backward has begun
    private long _time;
    private Exception? _error;

    /// <param name="model">The model.</param>
    /// <param name="parameters">Its shards.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="config">Thresholds, bucket sizes, leaves.</param>
    /// <param name="averaging">What gradients are multiplied by before they travel.</param>
    /// <param name="travelling">Element type of the gradients between ranks.</param>
    /// <param name="warn">Takes warnings.</param>
    public Stage3Parameters(nn.Module model, FlatParameters parameters, ProcessGroup group, ZeroConfig config, AveragingPlan averaging,
        ScalarType travelling, Action<string>? warn = null)
    {
        (_flat, _gatherElements) = (parameters, config.AllGatherBucketSize);
        Dictionary<nint, int> slots = Enumerable.Range(0, parameters.Slots.Count).ToDictionary(i => TensorMemory.Identity(parameters.Leaf(i)), i => i);
        _units = ParameterUnits.Of(model, leaf => slots.TryGetValue(TensorMemory.Identity(leaf), out int slot) ? slot : null,
            [.. parameters.Slots.Select(slot => slot.Elements)], config.Stage3);
        _live = new LiveParameters(parameters.Partitioned, _units, group, config, warn);
        _gradients = new Stage2Gradients(parameters, group, config, averaging, travelling, new PartitionedBuckets(parameters, config.ReduceBucketSize));
        _hooks = [.. _units.Select((unit, i) => ModuleHooks.Attach(unit.Module, () => BeforeForward(i), (_, result) => AfterForward(i, result))
            ?? throw new ArgumentException($"{unit.Name} has parameters of its own but cannot be called, so ZeRO stage 3 does not know when they are "
                + "used; move them into the module that uses them, or name a module around it in zero_optimization.leaf_module", nameof(model)))];
    }

    public bool ReducesEveryBackward => true;

    /// <summary>Elements that are whole now.</summary>
    public long LiveElements => _live.Elements;

    /// <summary>Largest number of elements that were whole at one time, since it was set.</summary>
    public long PeakLiveElements { get; set; }

    public void Begin() => _gradients.Begin();

    public void Finish()
    {
        try
        {
            ThrowIfFailed();
            EndAll(isComplete: true);
        }
        finally
        {
            _gradients.Finish();
        }
    }

    public void ThrowIfUnreduced() => _gradients.ThrowIfUnreduced();

    public void ClearGradients() => _gradients.ClearGradients();

    public void GatherWeights() => _live.Refresh(_gatherElements);

    public void AbandonForward()
    {
        if (_forward.Count > 0)
        {
            EndAll(isComplete: false);
        }
    }

    public void CheckForward(Func<Tensor> forward, Tensor result)
    {
        if (!_live.Trace.IsOn && OutsideUse.IsNotANumber(result))
        {
            try
            {
                OutsideUse.ThrowIfFound(_flat.Partitioned, forward);
            }
            finally
            {
                EndAll(isComplete: false);
            }
        }
    }

    public void ThrowIfFailed()
    {
        if (_error is { } error)
        {
            _error = null;
            EndAll(isComplete: false);
            ExceptionDispatchInfo.Throw(error);
        }
    }

    public void Dispose()
    {
        foreach (ModuleHooks hooks in _hooks)
        {
            hooks.Dispose();
        }

        _gradients.Dispose();
        _live.Dispose();
    }

    private void BeforeForward(int unit)
    {
        bool isTraced = _units[unit].Module.training;
        var call = new Call(unit, ++_time, isTraced);
        _live.Use(unit, isTraced, isOutermost: _forward.Count == 0 && _backward.Count == 0);
        PeakLiveElements = Math.Max(PeakLiveElements, _live.Elements);
        _forward.Add(call);
    }

    private void AfterForward(int unit, object? result)
    {
        Call call = Leave(unit);
        call.Ended = ++_time;
        if (is_grad_enabled())
        {
            foreach (Tensor tensor in ModuleHooks.TensorsOf(result))
            {
                if (tensor.requires_grad && !tensor.is_leaf)
                {
                    TensorHook.Register(tensor, gradient => BeforeBackward(call, gradient));
                }
            }
        }

        _live.End(unit, call.IsTraced);
    }

    // A call inside may have thrown, and its caller gone on without it.
    private Call Leave(int unit)
    {
        while (true)
        {
            Call call = _forward[^1];
            _forward.RemoveAt(_forward.Count - 1);
            if (call.Unit == unit)
            {
                return call;
            }

            _live.End(call.Unit, call.IsTraced);
        }
    }

    private Tensor? BeforeBackward(Call call, Tensor gradient)
    {
        try
        {
            if (_error is null)
            {
                EndBackwardsAfter(call);
                if (!call.IsInBackward)
                {
                    _live.Use(call.Unit, call.IsTraced, isOutermost: false);
                    PeakLiveElements = Math.Max(PeakLiveElements, _live.Elements);
                    call.IsInBackward = true;
                    _backward.Add(call);
                }

                return null;
            }
        }
#pragma warning disable CA1031 // an exception must not cross libtorch's frames
        catch (Exception e)
#pragma warning restore CA1031
        {
            _error = e;
        }

        // A gradient of a wrong shape makes libtorch fail the whole backward, before it reads parameters that are not there.
        return zeros(gradient.numel() + 1, gradient.dtype, gradient.device);
    }

    private void EndBackwardsAfter(Call call)
    {
        for (int i = _backward.Count - 1; i >= 0; i--)
        {
            if (_backward[i].Begun > call.Ended)
            {
                End(_backward[i]);
                _backward.RemoveAt(i);
            }
        }
    }

    private void End(Call call)
    {
        call.IsInBackward = false;
        _live.End(call.Unit, call.IsTraced);
    }

    private void EndAll(bool isComplete)
    {
        _backward.ForEach(call => call.IsInBackward = false);
        _backward.Clear();
        _forward.Clear();
        _live.EndAll(isComplete);
    }
}
