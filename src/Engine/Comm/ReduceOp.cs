namespace DeepSpeedSharp.Engine.Comm;

/// <summary>How values of several ranks become one.</summary>
/// <remarks>16-bit floating-point values are combined in fp32 and rounded after each combination. A NaN of any rank gives NaN.</remarks>
public enum ReduceOp
{
    /// <summary>The sum.</summary>
    Sum,

    /// <summary>The mean; of floating-point values only.</summary>
    Avg,

    /// <summary>The product.</summary>
    Product,

    /// <summary>The smallest.</summary>
    Min,

    /// <summary>The largest.</summary>
    Max,

    /// <summary>Bits that all ranks have set; of integers only.</summary>
    Band,

    /// <summary>Bits that any rank has set; of integers only.</summary>
    Bor,

    /// <summary>Bits that an odd number of ranks has set; of integers only.</summary>
    Bxor,
}
