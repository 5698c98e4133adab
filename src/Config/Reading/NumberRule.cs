namespace DeepSpeedSharp.Config;

/// <summary>Which numbers a setting takes, with the words for a message.</summary>
internal readonly record struct NumberRule(Func<double, bool> Holds, string Text)
{
    public static NumberRule Any { get; } = new(_ => true, "a number");

    public static NumberRule NotNegative { get; } = new(v => v >= 0, "a number of at least 0");

    public static NumberRule Positive { get; } = new(v => v > 0, "a number above 0");

    /// <summary>Decay of a running mean: 1 would never forget its start at zero.</summary>
    public static NumberRule Decay { get; } = new(v => v is >= 0 and < 1, "a number of at least 0 and below 1");

    public static NumberRule Fraction { get; } = new(v => v is >= 0 and <= 1, "a number from 0 to 1");
}
