using System.Buffers.Binary;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Observability;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class MonitorTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("monitor-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static StepMetrics Step(long step, double loss, double? norm = 1.5, double? scale = null) => new()
    {
        Step = step,
        Loss = loss,
        LearningRates = [0.001, 0.0001],
        GradientNorm = norm,
        LossScale = scale,
        Overflow = scale is not null && norm is null,
        GlobalSamples = 8 * step,
    };

    [Fact]
    public void Csv_TwoRuns_AppendRowsBelowOneHeader()
    {
        DeepSpeedConfig config = new() { CsvMonitor = new() { Enabled = true, OutputPath = _folder, JobName = "job" } };
        for (int run = 0; run < 2; run++)
        {
            using var monitors = new MonitorSet(config, new FakeTimeProvider(), Assert.Fail);
            monitors.Write(Step(run + 1, 2.5 - run, scale: 65536), null);
            Assert.EndsWith("\n", Read("Train_Samples_train_loss.csv"), StringComparison.Ordinal); // flushed
        }

        Assert.Equal("step,train_loss\n8,2.5\n16,1.5\n", Read("Train_Samples_train_loss.csv"));
        Assert.Equal("step,lr\n8,0.001\n16,0.001\n", Read("Train_Samples_lr.csv"));
        Assert.Equal("step,grad_norm\n8,1.5\n16,1.5\n", Read("Train_Samples_grad_norm.csv"));
        Assert.Equal("step,loss_scale\n8,65536\n16,65536\n", Read("Train_Samples_loss_scale.csv"));
        Assert.Equal(4, Directory.GetFiles(Path.Combine(_folder, "job")).Length);

        string Read(string name)
        {
            using var reader = new StreamReader(new FileStream(Path.Combine(_folder, "job", name), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
            return reader.ReadToEnd();
        }
    }

    [Fact]
    public void TensorBoard_Events_ReadBackWithAnotherParserAndGoodChecksums()
    {
        DeepSpeedConfig config = new() { TensorBoard = new() { Enabled = true, OutputPath = _folder, JobName = "job" } };
        var clock = new FakeTimeProvider();
        var timers = new WallClockTimers(clock, () => { });
        timers.Start(Phase.BackwardInner);
        clock.Advance(TimeSpan.FromMilliseconds(12.5));
        timers.Stop(Phase.BackwardInner);
        timers.EndStep();
        using (var monitors = new MonitorSet(config, clock, Assert.Fail))
        {
            monitors.Write(Step(1, 2.5), timers);
            monitors.Write(Step(400, 0.125, norm: null, scale: 4), null);
        }

        string file = Assert.Single(Directory.GetFiles(Path.Combine(_folder, "job")));
        Assert.StartsWith($"events.out.tfevents.{clock.GetUtcNow().ToUnixTimeSeconds():D10}.", Path.GetFileName(file), StringComparison.Ordinal);
        Tensorboard.Event[] events = [.. Records(File.ReadAllBytes(file)).Select(Tensorboard.Event.Parser.ParseFrom)];

        Assert.Equal("brain.Event:2", events[0].FileVersion);
        Assert.Equal([0L, 8, 3200], events.Select(e => e.Step));
        Assert.All(events, e => Assert.Equal(clock.GetUtcNow().ToUnixTimeSeconds(), e.WallTime, 1.0));
        Assert.Equal(["train_loss", "lr", "grad_norm", "elapsed_time_ms_forward", "elapsed_time_ms_backward", "elapsed_time_ms_backward_inner",
            "elapsed_time_ms_backward_allreduce", "elapsed_time_ms_step"], events[1].Summary.Value.Select(v => v.Tag["Train/Samples/".Length..]));
        Assert.Equal([2.5f, 0.001f, 1.5f, 0, 0, 12.5f, 0, 0], events[1].Summary.Value.Select(v => v.SimpleValue));
        Assert.Equal([("Train/Samples/train_loss", 0.125f), ("Train/Samples/lr", 0.001f), ("Train/Samples/loss_scale", 4)],
            events[2].Summary.Value.Select(v => (v.Tag, v.SimpleValue)));
    }

    [Fact]
    public void Checksum_KnownValue_IsCrc32C() => Assert.Equal(0xe3069283, Crc32C("123456789"u8));

    [Fact]
    public void Write_FolderThatCannotBeMade_WarnsOnceAndGoesOn()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        DeepSpeedConfig config = new()
        {
            CsvMonitor = new() { Enabled = true, OutputPath = file },
            TensorBoard = new() { Enabled = true, OutputPath = _folder, JobName = "good" },
        };
        var warnings = new List<string>();

        using (var monitors = new MonitorSet(config, new FakeTimeProvider(), warnings.Add))
        {
            monitors.Write(Step(1, 1), null);
            monitors.Write(Step(2, 1), null);
        }

        string warning = Assert.Single(warnings);
        Assert.Contains(file, warning, StringComparison.Ordinal);
        Assert.Equal(3, Records(File.ReadAllBytes(Directory.GetFiles(Path.Combine(_folder, "good"))[0])).Count);
    }

    // TFRecords, with checksums computed bit by bit.
    private static List<byte[]> Records(ReadOnlySpan<byte> file)
    {
        var records = new List<byte[]>();
        while (file.Length > 0)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
            Assert.Equal(Masked(file[..8]), BinaryPrimitives.ReadUInt32LittleEndian(file[8..]));
            ReadOnlySpan<byte> data = file.Slice(12, length);
            Assert.Equal(Masked(data), BinaryPrimitives.ReadUInt32LittleEndian(file[(12 + length)..]));
            records.Add(data.ToArray());
            file = file[(16 + length)..];
        }

        return records;
    }

    private static uint Masked(ReadOnlySpan<byte> data)
    {
        uint crc = Crc32C(data);
        return unchecked(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
    }

    private static uint Crc32C(ReadOnlySpan<byte> data)
    {
        uint crc = 0xffffffff;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
            }
        }

        return ~crc;
    }
}
