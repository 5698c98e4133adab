using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Counts and times one forward pass of a model, module by module.</summary>
/// <remarks>Hooks are there from construction to disposal only. Times of modules on a GPU are taken with the GPU idle,
/// which makes the pass slower than others.</remarks>
internal sealed class FlopsProfiler : IDisposable
{
    private readonly TimeProvider _clock;
    private readonly Action _synchronize;
    private readonly List<ModuleHooks> _hooks = [];
    private readonly Stack<(ModuleProfile Profile, long Start, TimeSpan Overhead)> _open = new();
    private TimeSpan _overhead; // of counting, so far

    public FlopsProfiler(nn.Module model, TimeProvider clock, Action synchronize)
    {
        (_clock, _synchronize) = (clock, synchronize);
        Root = ModuleProfile.Of(model, Attach);
    }

    /// <summary>What has been measured so far.</summary>
    public ModuleProfile Root { get; }

    /// <summary>Removes all hooks.</summary>
    public void Dispose()
    {
        _hooks.ForEach(h => h.Dispose());
        _hooks.Clear();
        _open.Clear();
    }

    private void Attach(nn.Module module, ModuleProfile profile)
    {
        ModuleHooks? hooks = ModuleHooks.Attach(module, () => Begin(profile), (arguments, result) =>
        {
            _synchronize();
            long end = _clock.GetTimestamp();
            TimeSpan latency = End(profile, end);
            var call = new ModuleCall(ModuleHooks.ShapesOf(arguments), ModuleHooks.ShapesOf(result));
            profile.Called(module is ICountFlops counted ? counted.CountFlops(call) : LayerFlops.Of(module, call), latency);
            _overhead += _clock.GetElapsedTime(end);
        });
        if (hooks is not null)
        {
            _hooks.Add(hooks);
        }
    }

    private void Begin(ModuleProfile profile)
    {
        _synchronize();
        _open.Push((profile, _clock.GetTimestamp(), _overhead));
    }

    // Without the time that counting took in the modules inside. A call whose forward threw, and was caught by its
    // caller, is still open above ours.
    private TimeSpan End(ModuleProfile profile, long end)
    {
        while (_open.TryPop(out (ModuleProfile Profile, long Start, TimeSpan Overhead) call))
        {
            if (ReferenceEquals(call.Profile, profile))
            {
                return _clock.GetElapsedTime(call.Start, end) - (_overhead - call.Overhead);
            }
        }

        return TimeSpan.Zero;
    }
}
