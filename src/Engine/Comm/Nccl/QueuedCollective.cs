using System.Diagnostics;
using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>A place for a collective that is under way: its events, which serve one after the other.</summary>
internal sealed class QueuedCollective : IDisposable
{
    /// <summary>One use of the place.</summary>
    public sealed class Turn(QueuedCollective collective, Action? ended)
    {
        public QueuedCollective Place => collective;

        /// <summary>To be called when it has ended well.</summary>
        public Action? Ended => ended;

        public TaskCompletionSource Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool HasEnded { get; set; }

        /// <summary>Whether NCCL has it, or refused it. Only then the mark of its end is its own.</summary>
        public bool IsLaunched
        {
            get => Volatile.Read(ref field);
            set => Volatile.Write(ref field, value);
        }

        /// <summary>What was wrong with the call itself.</summary>
        public Exception? Refusal { get; set; }

        /// <summary>Ends it with an error.</summary>
        public void Fault(Exception error)
        {
            Completion.TrySetException(error);
            _ = Completion.Task.Exception; // observed: the handle may have no reader
        }
    }

    private Tensor[] _held = [];
    private long _startedAt;

    public QueuedCollective()
    {
        (Ready, Done, Current) = (new CudaEvent(), new CudaEvent(), new Turn(this, null));
    }

    /// <summary>What was queued before the collective is done.</summary>
    public CudaEvent Ready { get; }

    /// <summary>The collective is done.</summary>
    public CudaEvent Done { get; }

    public Turn Current { get; private set; }

    public string Operation { get; private set; } = "";

    /// <param name="operation">Its name, for messages.</param>
    /// <param name="tensors">What it reads and writes.</param>
    /// <param name="ended">To be called when it has ended well.</param>
    public void Begin(string operation, ReadOnlySpan<Tensor> tensors, Action? ended)
    {
        (Current, Operation, _startedAt) = (new Turn(this, ended), operation, 0);
        _held = new Tensor[tensors.Length];
        for (int i = 0; i < tensors.Length; i++)
        {
            // The caller may dispose its own handle.
            _held[i] = tensors[i].alias().DetachFromDisposeScope();
        }
    }

    /// <summary>How long the GPU has been at it; null before it has come to it.</summary>
    public TimeSpan? Running()
    {
        if (_startedAt == 0 && Ready.IsDone)
        {
            _startedAt = Stopwatch.GetTimestamp();
        }

        return _startedAt == 0 ? null : Stopwatch.GetElapsedTime(_startedAt);
    }

    /// <param name="keepTensors">Whether the GPU may still be using them: they are then left to the process's end.</param>
    public Turn End(bool keepTensors = false)
    {
        foreach (Tensor tensor in keepTensors ? [] : _held)
        {
            tensor.Dispose();
        }

        _held = [];
        Current.HasEnded = true;
        return Current;
    }

    public void Dispose()
    {
        Ready.Dispose();
        Done.Dispose();
    }
}
