using System.Globalization;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Keeps an earlier attempt of a job from writing once a later one has begun.</summary>
/// <remarks>
/// After a network split the ranks of an old attempt may still run when the new one has resumed. The highest attempt
/// that came is noted in the folder of checkpoints; a lower one may not write there any more.
/// </remarks>
public static class AttemptLease
{
    private const string FileName = ".attempt";

    /// <summary>Notes that this attempt writes here from now on. Called by rank 0 before training.</summary>
    /// <param name="directory">Folder of checkpoints; created when missing.</param>
    /// <exception cref="CheckpointException">A later attempt has already begun.</exception>
    public static void Take(string directory)
    {
        if (Mine is not { } mine)
        {
            return;
        }

        Directory.CreateDirectory(directory);
        Check(directory);
        DurableFiles.Replace(Path.Combine(directory, FileName),
            System.Text.Encoding.UTF8.GetBytes(mine.ToString(CultureInfo.InvariantCulture)));
    }

    /// <summary>Throws when a later attempt has begun.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <exception cref="CheckpointException">A later attempt has already begun.</exception>
    internal static void Check(string directory)
    {
        string path = Path.Combine(directory, FileName);
        if (Mine is { } mine && File.Exists(path) && long.TryParse(File.ReadAllText(path), CultureInfo.InvariantCulture, out long highest) && highest > mine)
        {
            throw new CheckpointException($"attempt {highest} of this job has begun, so attempt {mine} may not write to "
                + $"{directory} any more; end this process, or remove {path} when the folder is from another job");
        }
    }

    private static long? Mine =>
        long.TryParse(Environment.GetEnvironmentVariable("DSJ_ATTEMPT"), CultureInfo.InvariantCulture, out long attempt) ? attempt : null;
}
