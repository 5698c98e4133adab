using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Saves checkpoints: every rank writes what it owns to a folder of its own name, the first one the manifest,
/// then the folder is renamed, and <c>latest</c> replaced last.</summary>
/// <remarks>
/// A crash at any point leaves the earlier checkpoints and a <c>latest</c> that names one of them. A rank that cannot
/// write makes all ranks throw: at once, or at the next call when the checkpoint is written behind.
/// </remarks>
/// <param name="group">The ranks.</param>
/// <param name="config">How to write, and what to do when ranks name a checkpoint differently.</param>
/// <param name="say">Shows text, on the first rank.</param>
/// <param name="warn">Shows a warning, on the first rank.</param>
internal sealed class CheckpointSaver(ProcessGroup group, CheckpointConfig config, Action<string> say, Action<string> warn) : IDisposable
{
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(60);

    private readonly WritePace _pace = new((int)Math.Min(config.Writer.IoBufferSize, 1 << 30), config.Writer.IoBufferDouble);
    private readonly HostSnapshot _snapshot = new();
    private readonly Attempt? _attempt = Attempt.OfProcess();
    private WriteBehind? _behind;
    private volatile string? _last;

    /// <summary>Saves one. Every rank must call this.</summary>
    /// <param name="request">What to save.</param>
    /// <returns>Folder of the checkpoint; when it is written behind, it is there later.</returns>
    /// <exception cref="CheckpointException">It could not be written, or the one before could not.</exception>
    public string Save(SaveRequest request)
    {
        CheckNames(request);
        Finish();
        request = request with { Tag = AgreeOnTag(request.Tag), Attempt = _attempt };
        string subject = Subject(request);
        request = request with { Temporary = Agreement.OnFirst(group, subject, "making its folder", request.Prepare) };
        if (request.Options.Asynchronous ?? config.Writer.Decoupled)
        {
            request = request with { Pieces = _snapshot.Take(request.Pieces) };
            _behind = new WriteBehind(request, group.Rank, group.WorldSize, _pace, Report, warn);
            return request.Folder;
        }

        long start = TimeProvider.System.GetTimestamp();
        IReadOnlyList<RankPart> parts = Agreement.OnAll(group, subject, "writing its files",
            () => request.Write(group.Rank, _pace));
        Agreement.OnFirst(group, subject, "completing it", () =>
        {
            request.Complete(parts, warn);
            return true;
        });
        Report(request, parts, TimeProvider.System.GetElapsedTime(start));
        return request.Folder;
    }

    /// <summary>Waits until a checkpoint that is written behind is complete. Every rank must call this.</summary>
    /// <exception cref="CheckpointException">It could not be written.</exception>
    public void Finish()
    {
        if (_behind is not { } behind)
        {
            return;
        }

        _behind = null;
        using (behind)
        {
            Agreement.OnAll(group, Subject(behind.Request), "writing it behind", () =>
            {
                behind.Wait();
                return true;
            });
            _last = behind.Request.Folder;
        }
    }

    /// <summary>Folder of the last one that is complete, as far as this rank knows.</summary>
    public string? Last => _last;

    /// <summary>Lets a checkpoint that is written behind be completed, for a minute at most, and says when it was not.</summary>
    public void Dispose()
    {
        try
        {
            _behind?.WaitAtMost(EndPatience);
        }
        catch (CheckpointException e)
        {
            Console.Error.WriteLine($"rank {group.Rank}: {Subject(_behind!.Request)}: {e.Message}");
        }

        if (_behind is not { IsDone: false }) // else its thread still reads the copy
        {
            _snapshot.Dispose();
        }

        _behind?.Dispose();
        _behind = null;
    }

    private static string Subject(SaveRequest request) => $"checkpoint {request.Tag} was not saved";

    private static void CheckNames(SaveRequest request)
    {
        if (string.IsNullOrWhiteSpace(request.Directory))
        {
            throw new ArgumentException("the folder for checkpoints has no name", nameof(request));
        }

        if (!CheckpointDirectory.IsTag(request.Tag))
        {
            throw new ArgumentException($"\"{request.Tag}\" cannot be the name of a checkpoint; use a plain file name", nameof(request));
        }

        if (request.Options.KeepLast is < 1)
        {
            throw new ArgumentException($"{request.Options.KeepLast} checkpoints cannot be kept; use 1 or more, or null for all", nameof(request));
        }
    }

    private string AgreeOnTag(string tag)
    {
        string[] tags = [.. group.AllGather(tag, "the tag of a checkpoint")];
        int other = Array.FindIndex(tags, t => t != tags[0]);
        if (other < 0 || config.TagValidation == TagValidation.Ignore)
        {
            return tags[0];
        }

        string problem = $"rank {other} calls checkpoint {tags[0]} {tags[other]}";
        if (config.TagValidation == TagValidation.Fail)
        {
            throw new CheckpointException($"checkpoint {tags[0]} was not saved: {problem}; give the same tag on every rank");
        }

        warn($"{problem}; it is saved as {tags[0]}, as on rank 0 (checkpoint.tag_validation: Fail makes this an error)");
        return tags[0];
    }

    private void Report(SaveRequest request, IReadOnlyList<RankPart> parts, TimeSpan took)
    {
        _last = request.Folder;
        if (config.Writer.ShowStatistics)
        {
            long bytes = parts.Sum(part => part.Files.Sum(file => file.Bytes));
            say(FormattableString.Invariant($"checkpoint {request.Tag}: {bytes / 1e9:0.000} GB by {parts.Count} ranks in {took.TotalSeconds:0.00} s, {bytes / 1e9 / took.TotalSeconds:0.00} GB/s"));
        }
    }
}
