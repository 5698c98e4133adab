namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Work of an operation: floating-point operations, and the multiply-accumulates among them.</summary>
/// <param name="Flops">Floating-point operations.</param>
/// <param name="Macs">Multiply-accumulates; each is two of the <paramref name="Flops"/>.</param>
/// <remarks>The rules are those of DeepSpeed's flops profiler: a multiply-accumulate is two operations, the bias of a
/// linear layer is not counted, dropout, views and table look-ups cost nothing. All work on shapes alone.</remarks>
public readonly record struct FlopCount(long Flops, long Macs)
{
    /// <summary>No work.</summary>
    public static FlopCount Zero => default;

    /// <summary>Sums the work of two operations.</summary>
    public static FlopCount operator +(FlopCount left, FlopCount right) => left.Add(right);

    /// <summary>Sums the work of two operations.</summary>
    /// <param name="other">The other one.</param>
    public FlopCount Add(FlopCount other) => new(checked(Flops + other.Flops), checked(Macs + other.Macs));

    /// <summary>A linear layer: <c>x Wᵀ</c>, with or without a bias.</summary>
    /// <param name="input">Shape of x, [..., in].</param>
    /// <param name="outputs">Features of the result.</param>
    public static FlopCount Linear(IReadOnlyList<long> input, long outputs) => OfMacs(checked(Elements(input) * outputs));

    /// <summary>A matrix product, batched or not.</summary>
    /// <param name="left">[..., n, k], or [k].</param>
    /// <param name="right">[..., k, m], or [k].</param>
    public static FlopCount MatMul(IReadOnlyList<long> left, IReadOnlyList<long> right)
    {
        long columns = right.Count > 1 ? right[^1] : 1;
        // A batch may be broadcast from either side.
        long leftBatch = Elements(left, left.Count - 2);
        long rightBatch = Elements(right, right.Count - 2);
        long rows = left.Count > 1 ? left[^2] : 1;
        return OfMacs(checked(Math.Max(leftBatch, rightBatch) * rows * left[^1] * columns));
    }

    /// <summary>A matrix product to which a tensor is added.</summary>
    /// <param name="left">[n, k].</param>
    /// <param name="right">[k, m].</param>
    public static FlopCount AddMM(IReadOnlyList<long> left, IReadOnlyList<long> right) =>
        MatMul(left, right) + new FlopCount(checked(left[0] * right[1]), 0);

    /// <summary>A convolution of one to three dimensions, grouped or not.</summary>
    /// <param name="output">[batch, out, ...].</param>
    /// <param name="weight">[out, in / groups, kernel...].</param>
    /// <param name="hasBias">Whether a bias is added.</param>
    public static FlopCount Convolution(IReadOnlyList<long> output, IReadOnlyList<long> weight, bool hasBias)
    {
        long elements = Elements(output);
        return OfMacs(checked(elements * (Elements(weight) / weight[0]))) + new FlopCount(hasBias ? elements : 0, 0);
    }

    /// <summary>A transposed convolution: every input element meets a whole kernel.</summary>
    /// <param name="input">[batch, in, ...].</param>
    /// <param name="weight">[in, out / groups, kernel...].</param>
    /// <param name="output">[batch, out, ...].</param>
    /// <param name="hasBias">Whether a bias is added.</param>
    public static FlopCount TransposedConvolution(
        IReadOnlyList<long> input, IReadOnlyList<long> weight, IReadOnlyList<long> output, bool hasBias) =>
        OfMacs(checked(Elements(input) * (Elements(weight) / weight[0]))) + new FlopCount(hasBias ? Elements(output) : 0, 0);

    /// <summary>A layer, group, instance or batch norm: 5 operations an element, 4 without weight and bias.</summary>
    /// <param name="input">Any shape.</param>
    /// <param name="isAffine">Whether it has a weight.</param>
    public static FlopCount Norm(IReadOnlyList<long> input, bool isAffine) => Elementwise(input, isAffine ? 5 : 4);

    /// <summary>Activations, softmax, pooling and other work of a few operations an element.</summary>
    /// <param name="input">Any shape.</param>
    /// <param name="perElement">Operations an element.</param>
    public static FlopCount Elementwise(IReadOnlyList<long> input, int perElement = 1) =>
        new(checked(Elements(input) * perElement), 0);

    /// <summary>Scaled dot-product attention: scores and their mix of the values. A causal mask saves nothing here, and
    /// the softmax is not counted.</summary>
    /// <param name="query">[..., queries, size].</param>
    /// <param name="key">[..., keys, size].</param>
    /// <param name="value">[..., keys, value size].</param>
    public static FlopCount Attention(IReadOnlyList<long> query, IReadOnlyList<long> key, IReadOnlyList<long> value) =>
        OfMacs(checked(Elements(query) * key[^2] + Elements(query, query.Count - 1) * key[^2] * value[^1]));

    /// <summary>Work that is nothing but multiply-accumulates.</summary>
    /// <param name="macs">Their number.</param>
    public static FlopCount OfMacs(long macs) => new(checked(2 * macs), macs);

    private static long Elements(IReadOnlyList<long> shape) => Elements(shape, shape.Count);

    private static long Elements(IReadOnlyList<long> shape, int dimensions)
    {
        long product = 1;
        for (int i = 0; i < dimensions; i++)
        {
            product = checked(product * shape[i]);
        }

        return product;
    }
}
