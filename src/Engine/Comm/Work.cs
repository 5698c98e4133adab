using System.Runtime.CompilerServices;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>A collective that is under way.</summary>
/// <remarks>Its tensors belong to it until it has ended: they must not be read, changed or disposed before <see cref="Wait"/>
/// has returned or an <c>await</c> has.</remarks>
public sealed class Work
{
    private readonly Action? _order;

    /// <param name="completion">Ends when the result is there, on the host's clock; faults with <see cref="PeerLostException"/>.</param>
    /// <param name="order">Makes what the caller starts next on the device come after the collective, without waiting for it;
    /// none where the collective ran on the host.</param>
    internal Work(Task completion, Action? order = null)
    {
        (Completion, _order) = (completion, order);
    }

    /// <summary>Ends when the result is there; faults with <see cref="PeerLostException"/>.</summary>
    public Task Completion { get; }

    /// <summary>Whether it has ended, with or without an error.</summary>
    public bool IsCompleted => Completion.IsCompleted;

    /// <summary>One that had nothing to do.</summary>
    internal static Work Done { get; } = new(Task.CompletedTask);

    /// <summary>Makes the result usable: on the host it blocks until the collective has ended; on a GPU the current stream
    /// waits, and the calling thread goes on.</summary>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Wait()
    {
        if (_order is not null && !Completion.IsFaulted)
        {
            _order();
            return;
        }

        Completion.GetAwaiter().GetResult();
    }

    /// <summary>Lets the handle be awaited: the continuation runs when the result is there.</summary>
    public TaskAwaiter GetAwaiter() => Completion.GetAwaiter();
}
