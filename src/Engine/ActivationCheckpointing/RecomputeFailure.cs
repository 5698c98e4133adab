using System.Runtime.ExceptionServices;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>Keeps what went wrong inside a backward, where no exception can leave, until the caller asks.</summary>
/// <remarks>
/// One per thread that runs a forward. The hooks of that forward's graph refer to it, so it is found again whichever
/// thread of libtorch runs them; ranks that are threads of one process do not see each other's.
/// </remarks>
internal sealed class RecomputeFailure
{
    [ThreadStatic]
    private static RecomputeFailure? _ofThisThread;

    private Exception? _first;

    public static RecomputeFailure OfThisThread => _ofThisThread ??= new RecomputeFailure();

    /// <summary>Keeps an error, unless there is one: what follows the first is only its consequence.</summary>
    public void Keep(Exception error) => Interlocked.CompareExchange(ref _first, error, null);

    /// <summary>Throws the error, once, with the stack of where it happened.</summary>
    public void ThrowIfAny()
    {
        if (Interlocked.Exchange(ref _first, null) is { } error)
        {
            ExceptionDispatchInfo.Throw(error);
        }
    }
}
