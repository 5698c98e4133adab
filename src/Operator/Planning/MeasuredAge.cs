namespace DeepSpeedSharp.Operator.Planning;

/// <summary>How long something has lasted that the cluster says began at some time.</summary>
/// <remarks>The time of day here may be wrong, or be set at any moment, and nothing must seem older for that. So it is asked only
/// for what was there before this process was; what begins later is measured.</remarks>
/// <param name="Before">How long it had lasted when it was seen here.</param>
/// <param name="SeenAt">When that was, by what measures durations.</param>
internal readonly record struct MeasuredAge(TimeSpan Before, long SeenAt)
{
    // Of the times that Kubernetes writes, the fraction of a second is cut off.
    private static readonly TimeSpan Fraction = TimeSpan.FromSeconds(1);

    /// <summary>Begins to measure.</summary>
    /// <param name="since">When it began, by the clock of the cluster.</param>
    /// <param name="isNews">Whether it began while this process looked.</param>
    /// <param name="time">Clock.</param>
    public static MeasuredAge Of(DateTimeOffset since, bool isNews, TimeProvider time)
    {
        TimeSpan age = time.GetUtcNow() - since;
        return new MeasuredAge(age < TimeSpan.Zero ? TimeSpan.Zero : isNews && age > Fraction ? Fraction : age, time.GetTimestamp());
    }

    /// <summary>How long it has lasted by now.</summary>
    /// <param name="time">Clock.</param>
    public TimeSpan Now(TimeProvider time) => Before + time.GetElapsedTime(SeenAt);
}
