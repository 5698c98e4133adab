using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Progress;

/// <summary>What rank 0 says about its training, at <c>/progress</c> and, in part, in its termination message.</summary>
/// <param name="Attempt">Attempt that speaks; null when it did not say.</param>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="TotalSteps">Optimizer steps of the whole run.</param>
/// <param name="Loss">Training loss of the last step, or NaN.</param>
/// <param name="TokensPerSecond">Speed over all ranks.</param>
/// <param name="EtaSeconds">Time left.</param>
/// <param name="LastCheckpointStep">Step of the last complete checkpoint.</param>
/// <param name="LastCheckpointTime">Its time.</param>
internal sealed record ProgressReport(
    int? Attempt, long? Step, long? TotalSteps, double? Loss, long? TokensPerSecond, long? EtaSeconds,
    long? LastCheckpointStep, DateTimeOffset? LastCheckpointTime)
{
    /// <summary>Largest report that is read.</summary>
    public const int MostBytes = 4096;

    /// <summary>Least time between two writes of mere steps: each write is an event for everybody who watches jobs.</summary>
    public static readonly TimeSpan BetweenWrites = TimeSpan.FromSeconds(30);

    /// <summary>Reads a report; null when the text is not one. The text comes from a user's program.</summary>
    public static ProgressReport? Parse(string? json)
    {
        if (json is null or { Length: 0 or > MostBytes })
        {
            return null;
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            JsonElement root = document.RootElement;
            var report = new ProgressReport((int?)root.Number("attempt"), root.Number("step"), root.Number("totalSteps"),
                root.Real("loss"), root.Number("tokensPerSecond"), root.Number("etaSeconds"),
                root.Number("lastCheckpointStep"), root.Time("lastCheckpointTime"));
            return report.Step is null ? null : report;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The report as part of a status. What it does not say stays as it was.</summary>
    /// <param name="before">The progress so far.</param>
    /// <param name="now">The time of this report.</param>
    /// <param name="isFinal">Whether no further report follows.</param>
    public JobProgress Onto(JobProgress? before, DateTimeOffset now, bool isFinal = false)
    {
        JobProgress old = before ?? new JobProgress();
        long? total = TotalSteps ?? old.TotalSteps;
        JobProgress updated = old with
        {
            Step = Step,
            TotalSteps = total,
            Percent = total > 0 && Step is { } step ? (int)Math.Clamp(step * 100 / total.Value, 0, 100) : null,
            Loss = Loss?.ToString("0.####", CultureInfo.InvariantCulture) ?? old.Loss,
            TokensPerSecond = TokensPerSecond ?? old.TokensPerSecond,
            EtaSeconds = EtaSeconds ?? (Step == total ? 0 : old.EtaSeconds),
            LastCheckpointStep = LastCheckpointStep ?? old.LastCheckpointStep,
            LastCheckpointTime = LastCheckpointTime is { } time ? WholeSecond(time)
                : LastCheckpointStep is null || LastCheckpointStep == old.LastCheckpointStep ? old.LastCheckpointTime : null,
        };

        // Speed and time left change all the time; only training itself is worth a write, at each percent, checkpoint
        // or half minute.
        bool moved = updated.TotalSteps != old.TotalSteps || updated.LastCheckpointStep != old.LastCheckpointStep
            || (updated.Step != old.Step && (isFinal || updated.Percent != old.Percent || old.UpdatedTime is null
                || now - old.UpdatedTime >= BetweenWrites));
        return moved ? updated with { UpdatedTime = WholeSecond(now) } : old;
    }

    private static DateTimeOffset WholeSecond(DateTimeOffset time) =>
        new(time.UtcTicks - time.UtcTicks % TimeSpan.TicksPerSecond, TimeSpan.Zero);
}
