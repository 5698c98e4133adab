using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>What goes wrong between a watch and its client: events that come late, twice, in another order, in halves or not
/// at all, and streams that say nothing any more.</summary>
/// <remarks>
/// Real servers only delay, repeat and cut. Lost and exchanged events are worse than anything they do: nobody can act on what
/// he was never told, but nobody may break a promise for it either.
/// </remarks>
/// <param name="chance">Says yes with a probability.</param>
/// <param name="time">Clock of the delays.</param>
internal sealed class WatchDistortion(Func<double, bool> chance, TimeProvider time)
{
    /// <summary>How long events are on their way.</summary>
    public TimeSpan Lag { get; init; }

    /// <summary>Share of events that are never told.</summary>
    public double Lost { get; init; }

    /// <summary>Share of events that are told twice.</summary>
    public double Twice { get; init; }

    /// <summary>Share of pairs of events that change places.</summary>
    public double Exchanged { get; init; }

    /// <summary>Share of wake-ups at which the stream breaks off in the middle of a line.</summary>
    public double Cut { get; init; }

    /// <summary>Share of wake-ups at which the stream falls silent for good, though its connection stays.</summary>
    public double Silent { get; init; }

    /// <summary>Share of wake-ups at which a bookmark is sent.</summary>
    public double Bookmarks { get; init; }

    /// <summary>How many events were touched.</summary>
    public int Count { get; private set; }

    /// <summary>Writes what happened, or something like it.</summary>
    /// <returns>Whether the stream goes on.</returns>
    public async Task<bool> WriteAsync(HttpContext context, List<JsonObject> lines, long version)
    {
        if (Lag > TimeSpan.Zero && lines.Count > 0)
        {
            await Task.Delay(Lag, time, context.RequestAborted);
        }

        if (chance(Silent))
        {
            Count++;
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        }

        for (int i = 0; i + 1 < lines.Count; i++)
        {
            if (chance(Exchanged))
            {
                Count++;
                (lines[i], lines[i + 1]) = (lines[i + 1], lines[i]);
            }
        }

        // In one write, as a busy server would.
        var text = new StringBuilder();
        foreach (JsonObject line in lines)
        {
            int times = chance(Lost) ? 0 : chance(Twice) ? 2 : 1;
            Count += times == 1 ? 0 : 1;
            text.Insert(text.Length, line.ToJsonString() + "\n", times);
        }

        if (chance(Bookmarks))
        {
            text.Append(Bookmark(version));
        }

        bool isCut = text.Length > 0 && chance(Cut);
        if (isCut)
        {
            Count++;
            text.Length -= text.Length / 3;
        }

        if (text.Length > 0)
        {
            await context.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(text.ToString()), context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }

        return !isCut;
    }

    private static string Bookmark(long version) => new JsonObject
    {
        ["type"] = "BOOKMARK",
        ["object"] = new JsonObject
        {
            ["metadata"] = new JsonObject { ["resourceVersion"] = version.ToString(CultureInfo.InvariantCulture) },
        },
    }.ToJsonString() + "\n";
}
