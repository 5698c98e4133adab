using System.Buffers;
using System.IO.Pipelines;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Splits a stream into lines without making text of them: a watch brings each change of each pod, kilobytes of
/// which a few words are kept.</summary>
internal static class JsonLines
{
    /// <summary>Calls back with each line that is not empty, until the stream ends; also with a last one that has no end.</summary>
    /// <param name="stream">The stream; stays open.</param>
    /// <param name="line">Takes a line, whose bytes are gone when it returns.</param>
    /// <param name="cancel">Ends the reading.</param>
    public static async Task ReadAsync(Stream stream, Action<ReadOnlySequence<byte>> line, CancellationToken cancel)
    {
        var reader = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 16_384, leaveOpen: true));
        try
        {
            ReadResult result;
            do
            {
                result = await reader.ReadAsync(cancel);
                ReadOnlySequence<byte> rest = result.Buffer;
                while (rest.PositionOf((byte)'\n') is { } end)
                {
                    Take(rest.Slice(0, end));
                    rest = rest.Slice(rest.GetPosition(1, end));
                }

                if (result.IsCompleted)
                {
                    Take(rest);
                    rest = rest.Slice(rest.End);
                }

                reader.AdvanceTo(rest.Start, rest.End);
            }
            while (!result.IsCompleted);
        }
        finally
        {
            await reader.CompleteAsync();
        }

        void Take(ReadOnlySequence<byte> bytes)
        {
            if (!bytes.IsEmpty)
            {
                line(bytes);
            }
        }
    }
}
