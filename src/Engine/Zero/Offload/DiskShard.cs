using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Native.Disk;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>A buffer in a file of its own.</summary>
/// <remarks>What is read and written from outside the step goes through a small buffer, in whole sectors. The step itself
/// moves whole pieces (<see cref="Start"/>).</remarks>
/// <param name="folder">The process's folder.</param>
/// <param name="name">Name of the buffer.</param>
/// <param name="elements">Its length.</param>
/// <param name="queue">Makes the transfers.</param>
/// <param name="type">Type of the elements.</param>
internal sealed class DiskShard(string folder, string name, long elements, IDiskQueue queue, ScalarType type = ScalarType.Float32) : IShardBuffer
{
    private const long BounceBytes = 8 << 20;

    private readonly int _size = (int)type.ElementSize();
    private readonly DirectFile _file = new(Path.Combine(folder, name + ".swap"), Sectors(elements * type.ElementSize()));
    private HostMemory? _bounce;

    public long Elements => elements;

    public long DeviceBytes => 0;

    /// <summary>Whether transfers go past the page cache.</summary>
    public bool IsDirect => _file.IsDirect;

    /// <summary>Starts moving a piece.</summary>
    /// <param name="isWrite">To the file.</param>
    /// <param name="piece">Elements, from a whole sector on.</param>
    /// <param name="address">Memory for the piece, up to the end of its last sector.</param>
    public DiskTransfer Start(bool isWrite, ElementRange piece, nint address) =>
        queue.Start(_file, isWrite, piece.Start * _size, address, Sectors(piece.Length * _size));

    /// <summary>Starts reading the sectors in which a piece lies.</summary>
    /// <param name="piece">Any elements.</param>
    /// <param name="address">Memory for the piece and the rest of its first and last sector; the piece begins there as far
    /// from a sector's start as in the file.</param>
    public DiskTransfer StartCovering(ElementRange piece, nint address)
    {
        long first = piece.Start * _size / DiskOptions.Sector * DiskOptions.Sector;
        return queue.Start(_file, isWrite: false, first, address, Sectors(piece.End * _size) - first);
    }

    public Tensor Read(ElementRange range)
    {
        using IDisposable noGrad = no_grad();
        Tensor result = empty(range.Length, type);
        foreach ((ElementRange part, ElementRange sectors) in Parts(range))
        {
            using Tensor bounced = Bounced(part, sectors);
            Move(isWrite: false, sectors);
            using Tensor target = result.narrow(0, part.Start - range.Start, part.Length);
            target.copy_(bounced).DetachFromDisposeScope();
        }

        return result;
    }

    public void Write(long start, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        foreach ((ElementRange part, ElementRange sectors) in Parts(new ElementRange(start, values.numel())))
        {
            Tensor bounced = Bounced(part, sectors);
            if (part != sectors)
            {
                Move(isWrite: false, sectors); // what is not replaced stays
            }

            bounced.copy_(values.narrow(0, part.Start - start, part.Length));
            Move(isWrite: true, sectors);
            bounced.Dispose();
        }
    }

    /// <summary>Writes zeros over everything; a new file reads as zeros without.</summary>
    public void WriteZeros()
    {
        using Tensor none = zeros(Math.Min(elements, BounceBytes / _size), type);
        for (long start = 0; start < elements; start += none.numel())
        {
            using Tensor part = none.narrow(0, 0, Math.Min(none.numel(), elements - start));
            Write(start, part);
        }
    }

    public void Dispose()
    {
        _file.Dispose();
        _bounce?.Dispose();
    }

    private static long Sectors(long bytes) => (bytes + DiskOptions.Sector - 1) / DiskOptions.Sector * DiskOptions.Sector;

    private IEnumerable<(ElementRange Part, ElementRange Sectors)> Parts(ElementRange range)
    {
        long most = BounceBytes / _size, sector = DiskOptions.Sector / _size;
        for (long start = range.Start; start < range.End;)
        {
            long first = start / sector * sector, end = Math.Min(range.End, first + most);
            yield return (new ElementRange(start, end - start), new ElementRange(first, (end + sector - 1) / sector * sector - first));
            start = end;
        }
    }

    private Tensor Bounced(ElementRange part, ElementRange sectors)
    {
        _bounce ??= new HostMemory(BounceBytes, isPinned: false);
        return _bounce.View((part.Start - sectors.Start) * _size, part.Length, type);
    }

    private void Move(bool isWrite, ElementRange sectors) =>
        queue.Start(_file, isWrite, sectors.Start * _size, _bounce!.Address, sectors.Length * _size).Wait();
}
