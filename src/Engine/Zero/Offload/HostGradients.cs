using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>The gradients of the elements that this rank updates on the host: sums over ranks, brought over part by part
/// while backward runs.</summary>
/// <remarks>
/// On a GPU a part travels on a stream of its own. The first of a step goes straight to its place; what further
/// backwards add goes to one of two page-locked buffers, from where another thread adds it, so that neither the GPU nor
/// the thread that feeds it waits. Ren et al., "ZeRO-Offload", 2021, section 4.1.
/// </remarks>
internal sealed class HostGradients : IDisposable
{
    private readonly Lock _order = new();
    private readonly HostMemory _memory;
    private readonly bool _isPinned;
    private readonly CopyStream? _stream;
    private readonly SquareSum _squares = new();
    private readonly HashSet<long> _filled = []; // where parts of this step begin
    private readonly List<IDisposable> _used = []; // events and converted parts of copies that may be under way
    private readonly (HostMemory Memory, Tensor Values)?[] _staging = new (HostMemory, Tensor)?[2];
    private readonly Task[] _adding = [Task.CompletedTask, Task.CompletedTask];
    private int _next;

    /// <param name="elements">How many.</param>
    /// <param name="type">Their type.</param>
    /// <param name="device">Where backward computes them.</param>
    /// <param name="isPinned">Page-locks the memory.</param>
    public HostGradients(long elements, ScalarType type, Device device, bool isPinned)
    {
        _isPinned = isPinned;
        _memory = new HostMemory(elements * type.ElementSize(), isPinned);
        Values = _memory.View(0, elements, type);
        _stream = device.type == DeviceType.CUDA ? new CopyStream(device.index) : null;
    }

    /// <summary>[n] on the CPU; complete after <see cref="Settle"/>.</summary>
    public Tensor Values { get; }

    /// <summary>Bytes of host memory.</summary>
    public long Bytes => _memory.Bytes + _staging.Sum(s => s?.Memory.Bytes ?? 0);

    /// <summary>Takes a part of the gradients: the first of a step replaces what was there, later ones are added.</summary>
    /// <param name="start">Its first element.</param>
    /// <param name="part">[length] of any floating type, contiguous.</param>
    /// <returns>On a GPU, the mark after which the part's memory may be used again, valid until <see cref="Settle"/>; null when it
    /// may be at once.</returns>
    public CudaEvent? Put(long start, Tensor part)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        lock (_order)
        {
            Tensor target = Values.narrow(0, start, part.numel());
            bool isFirst = _filled.Add(start);
            if (_stream is null || part.device_type == DeviceType.CPU)
            {
                _ = isFirst ? target.copy_(part) : target.add_(part);
                return null;
            }

            if (part.dtype != Values.dtype)
            {
                part = part.to(Values.dtype).DetachFromDisposeScope();
                _used.Add(part);
            }

            _stream.AfterComputing();
            long bytes = part.numel() * part.element_size();
            if (isFirst)
            {
                _stream.Copy(TensorMemory.Address(target), TensorMemory.Address(part), bytes);
                return Marked();
            }

            int place = _next++ % _staging.Length;
            _adding[place].GetAwaiter().GetResult();
            Tensor staged = Staging(place, part.numel());
            _stream.Copy(TensorMemory.Address(staged), TensorMemory.Address(part), bytes);
            CudaEvent copied = Marked();
            Task others = _adding[1 - place]; // parts of one place are added in order
            target.DetachFromDisposeScope();
            staged.DetachFromDisposeScope();
            _adding[place] = Task.Run(async () =>
            {
                await others.ConfigureAwait(false);
                copied.Wait();
                Add(target, staged);
            });
            return copied;
        }
    }

    /// <summary>Makes what the device is given next come after a mark of <see cref="Put"/>.</summary>
    public void ComputingAfter(CudaEvent? taken)
    {
        if (taken is not null)
        {
            _stream!.ComputingAfter(taken);
        }
    }

    /// <summary>Waits until all parts are there.</summary>
    public void Settle()
    {
        lock (_order)
        {
            Task.WhenAll(_adding).GetAwaiter().GetResult();
            _stream?.Wait();
            _used.ForEach(used => used.Dispose());
            _used.Clear();
            if (_filled.Count == 0)
            {
                using IDisposable noGrad = no_grad();
                Values.zero_().DetachFromDisposeScope(); // a step without a backward
            }
        }
    }

    /// <summary>The sum of their squares; not finite when one of them is not.</summary>
    public double SumOfSquares() => _squares.Of(Values);

    /// <summary>Forgets the gradients of this step.</summary>
    public void Clear()
    {
        lock (_order)
        {
            _filled.Clear();
        }
    }

    public void Dispose()
    {
        try
        {
            Task.WhenAll(_adding).GetAwaiter().GetResult();
        }
        finally
        {
            _stream?.Dispose();
            _used.ForEach(used => used.Dispose());
            Values.Dispose();
            _memory.Dispose();
            foreach ((HostMemory Memory, Tensor Values)? staging in _staging)
            {
                staging?.Values.Dispose();
                staging?.Memory.Dispose();
            }
        }
    }

    private static void Add(Tensor target, Tensor staged)
    {
        using IDisposable noGrad = no_grad();
        target.add_(staged).DetachFromDisposeScope();
        target.Dispose();
        staged.Dispose();
    }

    private CudaEvent Marked()
    {
        CudaEvent mark = _stream!.Mark();
        _used.Add(mark);
        return mark;
    }

    // As long as the longest part so far.
    private Tensor Staging(int place, long elements)
    {
        if (_staging[place] is not { } staging || staging.Values.numel() < elements)
        {
            _staging[place]?.Values.Dispose();
            _staging[place]?.Memory.Dispose();
            var memory = new HostMemory(elements * Values.element_size(), _isPinned);
            _staging[place] = staging = (memory, memory.View(0, elements, Values.dtype));
        }

        return staging.Values.narrow(0, 0, elements);
    }
}
