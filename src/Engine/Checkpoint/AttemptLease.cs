using System.Security.Cryptography;
using System.Text;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>One start of a job, as the environment of its processes names it.</summary>
/// <param name="Job">Identity of the job.</param>
/// <param name="Number">Number of the start, from 1.</param>
internal sealed record Attempt(string Job, long Number)
{
    /// <summary>That of this process; null when nobody numbers its starts.</summary>
    public static Attempt? OfProcess() => long.TryParse(Environment.GetEnvironmentVariable("DSJ_ATTEMPT"), out long number)
        ? new Attempt(Environment.GetEnvironmentVariable("DSJ_JOB_UID") ?? "", number) : null;

    /// <inheritdoc/>
    public override string ToString() => $"attempt {Number} of job {Job}";
}

/// <summary>Keeps an earlier attempt of a job from writing once a later one has begun.</summary>
/// <remarks>
/// After a network split the ranks of an old attempt may still run when the new one has resumed. Whoever begins notes
/// its job and attempt in the folder of checkpoints; from then on an earlier attempt of that job, and any other job,
/// may not write there. A job that was deleted and applied again is another job, and simply takes over.
/// A look at that note is not enough, because a process may be held up between the look and the write. So each attempt
/// writes in a folder of its own (<see cref="WorkFolder"/>) and publishes by renames out of it, and whoever begins first
/// takes the work folders of all others away: a rename then comes either before, and is read by the new attempt, or fails.
/// </remarks>
public static class AttemptLease
{
    private const string FileName = ".attempt";
    private const string WorkPrefix = ".writing_";

    /// <summary>Notes that this attempt writes here from now on, and takes from all others what they were writing. Called by
    /// rank 0 before it loads a checkpoint.</summary>
    /// <param name="directory">Folder of checkpoints; created when missing.</param>
    /// <exception cref="CheckpointException">A later attempt of this job has already begun.</exception>
    public static void Take(string directory)
    {
        if (Attempt.OfProcess() is { } mine)
        {
            Take(directory, mine);
        }
    }

    /// <summary>As <see cref="Take(string)"/>, for a given attempt.</summary>
    internal static void Take(string directory, Attempt mine)
    {
        Directory.CreateDirectory(directory);
        if (Read(directory) is { } holder && holder.Job == mine.Job && holder.Number > mine.Number)
        {
            throw Refusal(directory, holder, mine);
        }

        DurableFiles.Replace(Path.Combine(directory, FileName), Encoding.UTF8.GetBytes($"{mine.Number} {mine.Job}\n"));
        string own = WorkFolder(directory, mine);
        foreach (string other in Directory.GetDirectories(directory, WorkPrefix + "*").Where(folder => folder != own))
        {
            CheckpointDirectory.Discard(directory, other);
        }

        Directory.CreateDirectory(own);
    }

    /// <summary>Throws when somebody else has taken the folder since.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="mine">This attempt.</param>
    /// <exception cref="CheckpointException">Somebody else writes here now.</exception>
    internal static void Check(string directory, Attempt mine)
    {
        if (Read(directory) is not { } holder || holder == mine)
        {
            return;
        }

        if (holder.Job != mine.Job || holder.Number > mine.Number)
        {
            throw Refusal(directory, holder, mine);
        }

        Take(directory, mine); // an earlier one began at the same moment, and wrote its note over ours
    }

    /// <summary>Where an attempt writes what is not complete yet.</summary>
    internal static string WorkFolder(string directory, Attempt attempt) => Path.Combine(directory,
        $"{WorkPrefix}{attempt.Number}_{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(attempt.Job)))[..8]}");

    private static CheckpointException Refusal(string directory, Attempt holder, Attempt mine) => new(
        $"{holder} has begun, so {mine} may not write to {directory} any more; end this process");

    private static Attempt? Read(string directory)
    {
        string path = Path.Combine(directory, FileName);
        string[] parts = File.Exists(path) ? File.ReadAllText(path).Trim().Split(' ', 2) : [];
        return parts.Length > 0 && long.TryParse(parts[0], out long number)
            ? new Attempt(parts.Length > 1 ? parts[1] : "", number) : null;
    }
}
