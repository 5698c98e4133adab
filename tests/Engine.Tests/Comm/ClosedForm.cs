using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Values of which every collective's result is known: small whole numbers, exact in all types, and what a plain loop
/// makes of them.</summary>
internal static class ClosedForm
{
    public static readonly ScalarType[] Types =
        [ScalarType.Float32, ScalarType.Float64, ScalarType.Float16, ScalarType.BFloat16, ScalarType.Int32, ScalarType.Int64, ScalarType.Byte];

    /// <summary>Element i of a rank's tensor. Products stay below 2^(ranks/2), sums below 256.</summary>
    public static long Value(ReduceOp op, int rank, long i, int salt = 0) =>
        op == ReduceOp.Product ? (i + rank + salt) % 2 + 1 : (i * 7 + rank * 3 + salt) % 11;

    public static Tensor Make(ScalarType type, ReduceOp op, int rank, long start, long length, int salt = 0)
    {
        double[] values = new double[length];
        for (long i = 0; i < length; i++)
        {
            values[i] = Value(op, rank, start + i, salt);
        }

        using Tensor wide = tensor(values);
        return type == ScalarType.Float64 ? wide.alias() : wide.to(type);
    }

    /// <summary>What the ranks' values become.</summary>
    public static double Combined(ReduceOp op, int world, long i, int salt = 0)
    {
        long result = Value(op, 0, i, salt);
        for (int rank = 1; rank < world; rank++)
        {
            long value = Value(op, rank, i, salt);
            result = op switch
            {
                ReduceOp.Product => result * value,
                ReduceOp.Min => Math.Min(result, value),
                ReduceOp.Max => Math.Max(result, value),
                ReduceOp.Band => result & value,
                ReduceOp.Bor => result | value,
                ReduceOp.Bxor => result ^ value,
                _ => result + value,
            };
        }

        return op == ReduceOp.Avg ? (double)result / world : result;
    }

    /// <summary>Fails when a tensor does not hold what it should.</summary>
    public static void Check(Tensor actual, Func<long, double> expected, string what)
    {
        using Tensor wide = actual.to(ScalarType.Float64);
        double[] values = wide.data<double>().ToArray();
        for (int i = 0; i < values.Length; i++)
        {
            double right = expected(i);
            // Only a mean is not whole, and 16 bits hold two or three digits of it.
            if (Math.Abs(values[i] - right) > (right == Math.Floor(right) ? 0 : 0.01 * right))
            {
                throw new InvalidOperationException($"{what}: element {i} of {values.Length} is {values[i]}, not {right}");
            }
        }
    }

    public static void CheckCombined(Tensor actual, ReduceOp op, int world, long start, string what, int salt = 0) =>
        Check(actual, i => Combined(op, world, start + i, salt), what);

    public static void CheckValues(Tensor actual, int rank, long start, string what, int salt = 0) =>
        Check(actual, i => Value(ReduceOp.Sum, rank, start + i, salt), what);

    /// <summary>Operations that a type has.</summary>
    public static IEnumerable<ReduceOp> OpsOf(ScalarType type) => Enum.GetValues<ReduceOp>().Where(op => Reduction.Supports(type, op));
}
