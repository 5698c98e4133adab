using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>A buffer whose first elements are in one place and the rest in another.</summary>
/// <param name="first">The first elements.</param>
/// <param name="rest">The elements after them.</param>
internal sealed class SplitShard(IShardBuffer first, IShardBuffer rest) : IShardBuffer
{
    public long Elements => first.Elements + rest.Elements;

    public long DeviceBytes => first.DeviceBytes + rest.DeviceBytes;

    public Tensor Read(ElementRange range)
    {
        (ElementRange a, ElementRange b) = Cut(range);
        if (b.Length == 0)
        {
            return first.Read(a);
        }

        if (a.Length == 0)
        {
            return rest.Read(b);
        }

        using DisposeScope scope = NewDisposeScope();
        return cat([first.Read(a).cpu(), rest.Read(b).cpu()]).MoveToOuterDisposeScope();
    }

    public void Write(long start, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        (ElementRange a, ElementRange b) = Cut(new ElementRange(start, values.numel()));
        if (a.Length > 0)
        {
            first.Write(a.Start, values.narrow(0, 0, a.Length));
        }

        if (b.Length > 0)
        {
            rest.Write(b.Start, values.narrow(0, a.Length, b.Length));
        }
    }

    public void Dispose()
    {
        first.Dispose();
        rest.Dispose();
    }

    private (ElementRange First, ElementRange Second) Cut(ElementRange range)
    {
        ElementRange a = range.Intersect(new ElementRange(0, first.Elements));
        ElementRange b = range.Intersect(new ElementRange(first.Elements, rest.Elements));
        return (a.Length == 0 ? default : a, b.Length == 0 ? default : b.From(first.Elements));
    }
}
