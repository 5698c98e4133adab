using System.Text.Json;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Steps that every rank takes and that fail on all when they fail on one, so that none is left waiting.</summary>
internal static class Agreement
{
    private sealed record Outcome<T>(T? Value = default, string? Error = null, bool IsPassing = false, bool IsDamage = false);

    /// <summary>Runs a step on every rank. All ranks must call this.</summary>
    /// <typeparam name="T">What the step gives; it travels as JSON.</typeparam>
    /// <param name="group">The ranks.</param>
    /// <param name="subject">How an error begins, such as "checkpoint x was not saved".</param>
    /// <param name="what">What the step does, for messages.</param>
    /// <param name="step">The step.</param>
    /// <returns>What it gave, by rank.</returns>
    /// <exception cref="CheckpointException">It failed on a rank.</exception>
    public static IReadOnlyList<T> OnAll<T>(ProcessGroup group, string subject, string what, Func<T> step)
    {
        Outcome<T> outcome;
        try
        {
            outcome = new Outcome<T>(step());
        }
        catch (CheckpointException e)
        {
            outcome = new Outcome<T>(default, e.Message, e.IsPassing, e.IsDamage);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            outcome = new Outcome<T>(default, e.Message, e is IOException);
        }

        Outcome<T>[] all = [.. group.AllGather(JsonSerializer.Serialize(outcome, CheckpointManifest.Json), $"{subject}: {what}")
            .Select(text => JsonSerializer.Deserialize<Outcome<T>>(text, CheckpointManifest.Json)!)];
        int failed = Array.FindIndex(all, o => o.Error is not null);
        return failed < 0 ? [.. all.Select(o => o.Value!)]
            : throw new CheckpointException($"{subject}: {what} failed on rank {failed}: {all[failed].Error}")
            {
                IsPassing = all[failed].IsPassing,
                IsDamage = Array.Exists(all, o => o.IsDamage),
            };
    }

    /// <summary>Runs a step on the first rank and gives all what it gave.</summary>
    public static T OnFirst<T>(ProcessGroup group, string subject, string what, Func<T> step) =>
        OnAll<T?>(group, subject, what, () => group.Rank == 0 ? step() : default)[0]!;
}
