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
internal sealed class DiskShard(string folder, string name, long elements, IDiskQueue queue) : IShardBuffer
{
    private const long BounceBytes = 8 << 20;
    private const int SectorElements = DiskOptions.Sector / sizeof(float);

    private readonly DirectFile _file = new(Path.Combine(folder, name + ".swap"), Rounded(elements) * sizeof(float));
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
        queue.Start(_file, isWrite, piece.Start * sizeof(float), address, Rounded(piece.Length) * sizeof(float));

    public Tensor Read(ElementRange range)
    {
        using IDisposable noGrad = no_grad();
        Tensor result = empty(range.Length, ScalarType.Float32);
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
        using Tensor none = zeros(Math.Min(elements, BounceBytes / sizeof(float)), ScalarType.Float32);
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

    private static long Rounded(long count) => (count + SectorElements - 1) / SectorElements * SectorElements;

    private static IEnumerable<(ElementRange Part, ElementRange Sectors)> Parts(ElementRange range)
    {
        const long Most = BounceBytes / sizeof(float);
        for (long start = range.Start; start < range.End;)
        {
            long first = start / SectorElements * SectorElements, end = Math.Min(range.End, first + Most);
            yield return (new ElementRange(start, end - start), new ElementRange(first, Rounded(end) - first));
            start = end;
        }
    }

    private Tensor Bounced(ElementRange part, ElementRange sectors)
    {
        _bounce ??= new HostMemory(BounceBytes, isPinned: false);
        return _bounce.View((part.Start - sectors.Start) * sizeof(float), part.Length, ScalarType.Float32);
    }

    private void Move(bool isWrite, ElementRange sectors) =>
        queue.Start(_file, isWrite, sectors.Start * sizeof(float), _bounce!.Address, sectors.Length * sizeof(float)).Wait();
}
