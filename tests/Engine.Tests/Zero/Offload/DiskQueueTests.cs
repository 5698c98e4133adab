using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Native.Disk;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>Both ways to move bytes between memory and a disk.</summary>
public sealed class DiskQueueTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("disk-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<bool, int, int, int, bool, bool> Options() => new()
    {
        { true, 4096, 8, 1, false, true },
        { true, 4096, 1, 1, false, true },
        { true, 8192, 3, 2, true, true },
        { true, 5000, 4, 3, false, false },
        { true, 1 << 20, 8, 2, true, false },
        { false, 4096, 8, 1, false, true },
        { false, 12288, 2, 3, false, true },
    };

    [Theory]
    [MemberData(nameof(Options))]
    public unsafe void Start_ManyTransfersAtOnce_BringsBackWhatWasWritten(
        bool isUring, int block, int depth, int threads, bool submitsSingly, bool overlaps)
    {
        using IDiskQueue queue = Open(isUring, DiskOptions.Of(block, depth, threads, submitsSingly, overlaps));
        const int Sectors = 97, Piece = 13;
        long bytes = Sectors * DiskOptions.Sector;
        using var file = new DirectFile(Path.Combine(_folder, "a"), bytes);
        using var from = new HostMemory(bytes, false);
        using var to = new HostMemory(bytes, false);
        new Random(1).NextBytes(new Span<byte>((void*)from.Address, (int)bytes));

        Move(isWrite: true, from);
        Move(isWrite: false, to);

        Assert.True(new Span<byte>((void*)from.Address, (int)bytes).SequenceEqual(new Span<byte>((void*)to.Address, (int)bytes)));
        Assert.Equal(new Span<byte>((void*)from.Address, (int)bytes).ToArray(), File.ReadAllBytes(Path.Combine(_folder, "a")));

        void Move(bool isWrite, HostMemory memory)
        {
            var all = new List<DiskTransfer>();
            for (long sector = 0; sector < Sectors; sector += Piece)
            {
                long offset = sector * DiskOptions.Sector;
                all.Add(queue.Start(file, isWrite, offset, memory.Address + (nint)offset, Math.Min(Piece * DiskOptions.Sector, bytes - offset)));
            }

            all.ForEach(transfer => transfer.Wait());
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Start_FileThatHasBecomeShorter_FailsWithItsName(bool isUring)
    {
        using IDiskQueue queue = Open(isUring, DiskOptions.Of(4096, 4, 1, false, true));
        using var file = new DirectFile(Path.Combine(_folder, "short"), 64 * 4096);
        using var memory = new HostMemory(64 * 4096, false);
        using (FileStream other = File.OpenWrite(file.Path))
        {
            other.SetLength(4096);
        }

        var error = Assert.Throws<IOException>(() => queue.Start(file, isWrite: false, 0, memory.Address, 64 * 4096).Wait());

        Assert.Contains(file.Path, error.Message, StringComparison.Ordinal);
        queue.Start(file, isWrite: false, 0, memory.Address, 4096).Wait(); // and goes on
    }

    [Fact]
    public void DirectFile_MoreThanTheDiskHas_SaysSoAndLeavesNothing()
    {
        string path = Path.Combine(_folder, "huge");

        var error = Assert.Throws<IOException>(() => new DirectFile(path, (new DriveInfo(_folder).AvailableFreeSpace + (10L << 30)) / 4096 * 4096));

        Assert.Contains("more space", error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void SwapFolder_OfADeadProcess_IsRemovedByTheNext_AndThatOfALivingOneStays()
    {
        string dead = Path.Combine(_folder, "deepspeed-swap-dead");
        Directory.CreateDirectory(dead);
        File.WriteAllText(Path.Combine(dead, "masters.swap"), "left");
        File.WriteAllText(dead + ".lock", "");
        using var living = new SwapFolder(_folder, 0);
        File.WriteAllText(Path.Combine(living.Path, "masters.swap"), "in use");

        using (var next = new SwapFolder(_folder, 1))
        {
            Assert.False(Directory.Exists(dead));
            Assert.True(File.Exists(Path.Combine(living.Path, "masters.swap")));
            Assert.NotEqual(living.Path, next.Path);
        }

        Assert.Equal([living.Path, living.Path + ".lock"], Directory.GetFileSystemEntries(_folder).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void SwapFolder_WhereNothingCanBeWritten_NamesTheSetting()
    {
        string file = Path.Combine(_folder, "a file");
        File.WriteAllText(file, "");

        Assert.Contains("nvme_path", Assert.Throws<IOException>(() => new SwapFolder(file, 0)).Message, StringComparison.Ordinal);
    }

    private static IDiskQueue Open(bool isUring, DiskOptions options)
    {
        if (!isUring)
        {
            return new ThreadedQueue(options);
        }

        (IDiskQueue queue, string? reason) = DiskQueues.Open(options);
        if (reason is not null)
        {
            queue.Dispose();
            Assert.Skip($"no io_uring here: {reason}");
        }

        return queue;
    }
}
