using System.Diagnostics;
using System.Globalization;
using System.Text;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Native.Disk;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>How fast offloaded state moves between memory and a disk, against a plain copy of a file.</summary>
/// <remarks>Rounds of all candidates in turn. The plain copy is of a file in the page cache to a new one, to the end of its
/// fsync; the others move the same bytes between memory and the disk, past the cache.</remarks>
internal sealed class DiskReport(string folder, long megabytes, int rounds)
{
    private sealed record Candidate(string Name, Action Run)
    {
        public List<double> Seconds { get; } = [];
    }

    /// <summary>Measures and writes a Markdown file.</summary>
    /// <param name="results">Where to.</param>
    /// <returns>Its path.</returns>
    public string Write(string results)
    {
        long bytes = megabytes << 20;
        string place = Directory.CreateDirectory(Path.Combine(folder, $"deepspeed-disk-benchmark-{Environment.ProcessId}")).FullName;
        try
        {
            using var memory = new HostMemory(bytes, isPinned: false);
            Fill(memory);
            using var file = new DirectFile(Path.Combine(place, "direct"), bytes);
            using var one = new ThreadedQueue(Options(1, 1));
            using var threads = new ThreadedQueue(Options(8, 1));
            using var more = new ThreadedQueue(Options(8, 4));
            (IDiskQueue ring, string? reason) = DiskQueues.Open(Options(8, 1));
            (IDiskQueue deep, _) = DiskQueues.Open(Options(32, 1));
            using (ring)
            using (deep)
            {
                string source = Path.Combine(place, "source");
                File.WriteAllBytes(source, new byte[Math.Min(bytes, 1 << 30)]);
                var candidates = new List<Candidate> { new("file copy with fsync (buffered)", () => CopyFile(source, Path.Combine(place, "copy"), bytes)) };
                foreach ((string name, IDiskQueue queue) in (ReadOnlySpan<(string, IDiskQueue)>)[("one request at a time", one), ("8 threads", threads),
                    ("32 threads", more), ($"{ring.Name}, 8 requests{(reason is null ? "" : " (no io_uring)")}", ring), ($"{deep.Name}, 32 requests", deep)])
                {
                    candidates.Add(new($"write: {name}", () => queue.Start(file, true, 0, memory.Address, bytes).Wait()));
                    candidates.Add(new($"read: {name}", () => queue.Start(file, false, 0, memory.Address, bytes).Wait()));
                }

                for (int round = -1; round < rounds; round++)
                {
                    foreach (Candidate candidate in candidates)
                    {
                        long start = Stopwatch.GetTimestamp();
                        candidate.Run();
                        if (round >= 0)
                        {
                            candidate.Seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                        }
                    }
                }

                return Machine.Keep(results, "disk", Report(candidates, file.IsDirect));
            }
        }
        finally
        {
            Directory.Delete(place, recursive: true);
        }
    }

    private static DiskOptions Options(int depth, int threads) => DiskOptions.Of(1 << 20, depth, threads, false, true);

    private static unsafe void Fill(HostMemory memory)
    {
        // Not zeros, which some disks store for nothing.
        var random = new Random(1);
        for (long start = 0; start < memory.Bytes; start += 1 << 20)
        {
            random.NextBytes(new Span<byte>((byte*)memory.Address + start, (int)Math.Min(1 << 20, memory.Bytes - start)));
        }
    }

    private static void CopyFile(string from, string to, long bytes)
    {
        byte[] buffer = new byte[1 << 20];
        using FileStream source = File.OpenRead(from);
        using var target = new FileStream(to, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
        for (long done = 0; done < bytes; done += buffer.Length)
        {
            if (source.Read(buffer) == 0)
            {
                source.Position = 0;
                _ = source.Read(buffer);
            }

            target.Write(buffer, 0, (int)Math.Min(buffer.Length, bytes - done));
        }

        target.Flush(flushToDisk: true);
    }

    private string Report(List<Candidate> candidates, bool isDirect)
    {
        double copy = Machine.Median(candidates[0].Seconds);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"# State on a disk, {Machine.Headline}\n\n");
        text.Append(CultureInfo.InvariantCulture, $"{megabytes} MiB in blocks of 1 MiB, {(isDirect ? "past" : "through (the file system has no direct transfers)")} the page cache; ");
        text.Append(CultureInfo.InvariantCulture, $"{Machine.Versions}. Medians of {rounds} rounds of all lines in turn; load average at the end {Machine.LoadAverage}.\n\n");
        text.Append("| | GB/s | of the file copy |\n| --- | ---: | ---: |\n");
        foreach (Candidate c in candidates)
        {
            double seconds = Machine.Median(c.Seconds);
            text.Append(CultureInfo.InvariantCulture, $"| {c.Name} | {(megabytes << 20) / seconds / 1e9:0.00} | {copy / seconds:0.00}x |\n");
        }

        return text.ToString();
    }
}
