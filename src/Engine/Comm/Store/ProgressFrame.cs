using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>A heartbeat on the wire: how far the rank has come.</summary>
internal static class ProgressFrame
{
    private const int LongestText = 400;

    public static byte[] Encode(RankProgress progress) => new FieldWriter().Long(progress.Step).Text(Shortened(progress.LastCollective))
        .List(progress.Groups, (fields, group) => fields.Text(group.Group).Long(group.Entered).Long(group.WaitingIn)
            .Long((long)group.Waited.TotalMilliseconds).Text(Shortened(group.Description)))
        .ToArray();

    /// <exception cref="InvalidDataException">It is something else.</exception>
    public static RankProgress Decode(ReadOnlySpan<byte> body)
    {
        var reader = new FieldReader(body);
        return new RankProgress(reader.Long(), reader.Text(), reader.List((ref FieldReader fields) => new GroupProgress(
            fields.Text(), fields.Long(), fields.Long(), TimeSpan.FromMilliseconds(Math.Clamp(fields.Long(), 0, int.MaxValue)), fields.Text())));
    }

    private static string Shortened(string text) => text.Length <= LongestText ? text : text[..LongestText];
}
