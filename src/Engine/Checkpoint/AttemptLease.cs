using System.Text;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Keeps an earlier attempt of a job from writing once a later one has begun.</summary>
/// <remarks>
/// After a network split the ranks of an old attempt may still run when the new one has resumed. Whoever begins notes
/// its job and attempt in the folder of checkpoints; from then on an earlier attempt of that job, and any other job,
/// may not write there. A job that was deleted and applied again is another job, and simply takes over.
/// </remarks>
public static class AttemptLease
{
    private const string FileName = ".attempt";

    private sealed record Holder(string Job, long Attempt)
    {
        public override string ToString() => $"attempt {Attempt} of job {Job}";
    }

    /// <summary>Notes that this attempt writes here from now on. Called by rank 0 before training.</summary>
    /// <param name="directory">Folder of checkpoints; created when missing.</param>
    /// <exception cref="CheckpointException">A later attempt of this job has already begun.</exception>
    public static void Take(string directory)
    {
        if (Mine is not { } mine)
        {
            return;
        }

        Directory.CreateDirectory(directory);
        if (Read(directory) is { } holder && holder.Job == mine.Job && holder.Attempt > mine.Attempt)
        {
            throw Refusal(directory, holder, mine);
        }

        DurableFiles.Replace(Path.Combine(directory, FileName), Encoding.UTF8.GetBytes($"{mine.Attempt} {mine.Job}\n"));
    }

    /// <summary>Throws when somebody else has taken the folder since.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <exception cref="CheckpointException">Somebody else writes here now.</exception>
    internal static void Check(string directory)
    {
        if (Mine is { } mine && Read(directory) is { } holder && (holder.Job != mine.Job || holder.Attempt > mine.Attempt))
        {
            throw Refusal(directory, holder, mine);
        }
    }

    private static CheckpointException Refusal(string directory, Holder holder, Holder mine) => new(
        $"{holder} has begun, so {mine} may not write to {directory} any more; end this process");

    private static Holder? Read(string directory)
    {
        string path = Path.Combine(directory, FileName);
        string[] parts = File.Exists(path) ? File.ReadAllText(path).Trim().Split(' ', 2) : [];
        return parts.Length > 0 && long.TryParse(parts[0], out long attempt)
            ? new Holder(parts.Length > 1 ? parts[1] : "", attempt) : null;
    }

    private static Holder? Mine => long.TryParse(Environment.GetEnvironmentVariable("DSJ_ATTEMPT"), out long attempt)
        ? new Holder(Environment.GetEnvironmentVariable("DSJ_JOB_UID") ?? "", attempt) : null;
}
