using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Native.Disk;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Weights on a disk, except the first, which host memory has room for (<c>max_in_cpu</c>).</summary>
/// <remarks>
/// Whoever reads ahead has the disk read into a buffer at once; the copy to the device follows when the weights are
/// needed. One of the buffers is for parts that found no other free, or that are longer than one.
/// Rajbhandari et al., "ZeRO-Infinity", 2021, section 6.2.
/// </remarks>
internal sealed class DiskWeightShards : IWeightShards
{
    private readonly long _elements;
    private readonly long _inMemory;
    private readonly HostWeightShards _first;
    private readonly SwapFolder _folder;
    private readonly IDiskQueue _queue;
    private readonly DiskShard _rest;
    private readonly CopyStream? _stream;
    private readonly int _size;
    private readonly long _bufferElements;
    private readonly HostMemory[] _buffers;
    private readonly Stack<HostMemory> _free;

    /// <param name="elements">How many.</param>
    /// <param name="type">Type of the weights.</param>
    /// <param name="device">Where they are used.</param>
    /// <param name="inMemory">Elements that stay in host memory.</param>
    /// <param name="bufferElements">Elements of a buffer.</param>
    /// <param name="options">Where and how, and how many buffers.</param>
    /// <param name="rank">For the folder's name.</param>
    public DiskWeightShards(long elements, ScalarType type, Device device, long inMemory, long bufferElements, DiskStateOptions options, int rank)
    {
        _size = (int)type.ElementSize();
        long sector = DiskOptions.Sector / _size;
        _elements = elements;
        _inMemory = inMemory >= elements ? elements : inMemory / sector * sector;
        _bufferElements = (Math.Min(bufferElements, Math.Max(1, elements - _inMemory)) + sector - 1) / sector * sector;
        _first = new HostWeightShards(_inMemory, type, device, options.IsPinned);
        _folder = new SwapFolder(options.Path, rank);
        (_queue, _) = DiskQueues.Open(options.Disk);
        _rest = new DiskShard(_folder.Path, "weights", elements - _inMemory, _queue, type);
        _stream = device.type == DeviceType.CUDA ? new CopyStream(device.index) : null;
        // Room for the sectors in which a part begins and ends.
        _buffers = [.. Enumerable.Range(0, elements == _inMemory ? 0 : options.BufferCount).Select(_ =>
            new HostMemory(_bufferElements * _size + 2 * DiskOptions.Sector, options.IsPinned))];
        _free = new Stack<HostMemory>(_buffers.Skip(1));
    }

    public long Elements => _elements;

    public long DeviceBytes => 0;

    public Tensor? Values => null;

    /// <summary>The folder with the file.</summary>
    public string Folder => _folder.Path;

    public Work Read(ElementRange part, Tensor destination)
    {
        using IDisposable noGrad = no_grad();
        (ElementRange first, ElementRange rest) = Cut(part);
        Work inMemory = Work.Done;
        if (first.Length > 0)
        {
            using Tensor target = destination.narrow(0, 0, first.Length).DetachFromDisposeScope();
            inMemory = _first.Read(first, target);
        }

        if (rest.Length == 0)
        {
            return inMemory;
        }

        Tensor onDisk = destination.narrow(0, first.Length, rest.Length).DetachFromDisposeScope();
        (HostMemory Buffer, DiskTransfer Transfer)? ahead = rest.Length <= _bufferElements && _free.TryPop(out HostMemory? buffer)
            ? (buffer, _rest.StartCovering(rest, buffer.Address)) : null;
        return new Work(Task.CompletedTask, () =>
        {
            using (onDisk)
            {
                inMemory.Wait();
                if (ahead is var (memory, transfer))
                {
                    transfer.Wait();
                    Copy(memory, rest, onDisk);
                    _free.Push(memory);
                    return;
                }

                for (long start = 0; start < rest.Length; start += _bufferElements)
                {
                    var piece = new ElementRange(rest.Start + start, Math.Min(_bufferElements, rest.Length - start));
                    _rest.StartCovering(piece, _buffers[0].Address).Wait();
                    using Tensor target = onDisk.narrow(0, start, piece.Length).DetachFromDisposeScope();
                    Copy(_buffers[0], piece, target);
                }
            }
        });
    }

    public void Write(ElementRange part, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        (ElementRange first, ElementRange rest) = Cut(part);
        if (first.Length > 0)
        {
            _first.Write(first, values.narrow(0, 0, first.Length));
        }

        if (rest.Length > 0)
        {
            _rest.Write(rest.Start, values.narrow(0, first.Length, rest.Length));
        }
    }

    public void Settle() => _first.Settle();

    public void Dispose()
    {
        _queue.Dispose();
        _stream?.Dispose();
        _first.Dispose();
        _rest.Dispose();
        Array.ForEach(_buffers, buffer => buffer.Dispose());
        _folder.Dispose();
    }

    private (ElementRange First, ElementRange OnDisk) Cut(ElementRange part)
    {
        ElementRange first = part.Intersect(new ElementRange(0, _inMemory));
        long rest = part.Length - first.Length;
        return (first.Length == 0 ? default : first, rest == 0 ? default : new ElementRange(part.End - rest - _inMemory, rest));
    }

    // The buffer is used again for the next part, so the copy has ended when this returns.
    private void Copy(HostMemory memory, ElementRange part, Tensor destination)
    {
        long offset = part.Start * _size % DiskOptions.Sector;
        if (_stream is { } stream)
        {
            stream.AfterComputing();
            stream.Copy(TensorMemory.Address(destination), memory.Address + (nint)offset, part.Length * _size);
            stream.Wait();
            return;
        }

        using IDisposable noGrad = no_grad();
        using Tensor source = memory.View(offset, part.Length, destination.dtype);
        destination.copy_(source).DetachFromDisposeScope();
    }
}
