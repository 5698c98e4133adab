using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Native.Disk;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>States on a disk (ZeRO-Infinity): a piece is in memory while it is updated, the next may be on its way in
/// (<c>pipeline_read</c>), the last on its way out (<c>pipeline_write</c>).</summary>
/// <remarks>Rajbhandari et al., "ZeRO-Infinity", 2021, sections 5.1.1 and 6.3.</remarks>
internal sealed class DiskStates : IHostStates
{
    // One piece of every buffer.
    private sealed class Set(HostMemory memory)
    {
        public HostMemory Memory => memory;

        public Tensor[] Views = []; // of the piece that is in it

        public DiskTransfer[] UnderWay = [];

        public CudaEvent? IsFree;

        public int Piece = -1;
    }

    private readonly long _elements;
    private readonly DiskStateOptions _options;
    private readonly SwapFolder _folder;
    private readonly IDiskQueue _queue;
    private readonly List<DiskShard> _buffers = [];
    private IReadOnlyList<ElementRange> _pieces = [];
    private Set[] _sets = [];
    private int _ahead; // pieces that are read before their turn
    private long _longest; // bytes of a piece

    /// <param name="elements">Length of each buffer.</param>
    /// <param name="options">Where and how.</param>
    /// <param name="rank">For the folder's name.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public DiskStates(long elements, DiskStateOptions options, int rank)
    {
        (_elements, _options) = (elements, options);
        _folder = new SwapFolder(options.Path, rank);
        (_queue, string? reason) = DiskQueues.Open(options.Disk);
        How = reason is null ? _queue.Name : $"{_queue.Name} ({reason})";
    }

    /// <summary>How transfers are made, for the log.</summary>
    public string How { get; }

    /// <summary>Whether they go past the page cache.</summary>
    public bool IsDirect => _buffers.TrueForAll(buffer => buffer.IsDirect);

    /// <summary>The folder with the files.</summary>
    public string Folder => _folder.Path;

    public long HostBytes => _sets.Sum(set => set.Memory.Bytes);

    public IShardBuffer Add(string name)
    {
        var buffer = new DiskShard(_folder.Path, name, _elements, _queue);
        _buffers.Add(buffer);
        if (!_options.FastInit)
        {
            buffer.WriteZeros(); // touches every block of the disk now rather than in the first step
        }

        return buffer;
    }

    public void Prepare(IReadOnlyList<ElementRange> pieces)
    {
        _pieces = pieces;
        if (pieces.Count == 0)
        {
            return;
        }

        _longest = (pieces[0].Length * sizeof(float) + DiskOptions.Sector - 1) / DiskOptions.Sector * DiskOptions.Sector;
        int writing = _options.PipelineWrite ? 1 : 0;
        // A set takes a buffer for each state and, in the original's count, one for the gradients.
        int count = Math.Max(1 + (_options.PipelineRead ? 1 : 0) + writing, _options.BufferCount / (_buffers.Count + 1));
        _sets = [.. Enumerable.Range(0, Math.Min(count, pieces.Count)).Select(_ => new Set(new HostMemory(_longest * _buffers.Count, _options.IsPinned)))];
        _ahead = _options.PipelineRead ? Math.Max(0, _sets.Length - 1 - writing) : 0;
        _ahead = _options.PipelineRead && _sets.Length > 1 ? Math.Max(1, _ahead) : _ahead;
    }

    public IReadOnlyList<Tensor> Take(int index)
    {
        for (int piece = index; piece <= Math.Min(index + _ahead, _pieces.Count - 1); piece++)
        {
            StartReading(piece);
        }

        Set set = SetOf(index);
        Wait(set);
        return set.Views;
    }

    public void Give(int index, CudaEvent? isFree)
    {
        Set set = SetOf(index);
        set.IsFree = isFree;
        set.UnderWay = Start(set, index, isWrite: true);
        if (!_options.PipelineWrite)
        {
            Wait(set);
        }
    }

    public void Finish()
    {
        foreach (Set set in _sets)
        {
            Wait(set);
            set.Piece = -1; // the next step reads anew
        }
    }

    public void Dispose()
    {
        _queue.Dispose(); // ends when nothing is under way
        foreach (Set set in _sets)
        {
            Array.ForEach(set.Views, view => view.Dispose());
            set.Memory.Dispose();
        }

        _buffers.ForEach(buffer => buffer.Dispose());
        _folder.Dispose();
    }

    private Set SetOf(int piece) => _sets[piece % _sets.Length];

    private void StartReading(int piece)
    {
        Set set = SetOf(piece);
        if (set.Piece == piece)
        {
            return;
        }

        Wait(set); // until the piece before it is written
        set.IsFree?.Wait();
        set.IsFree = null;
        set.Piece = piece;
        Array.ForEach(set.Views, view => view.Dispose());
        set.Views = [.. Enumerable.Range(0, _buffers.Count).Select(i => set.Memory.View(i * _longest, _pieces[piece].Length, ScalarType.Float32))];
        set.UnderWay = Start(set, piece, isWrite: false);
    }

    private DiskTransfer[] Start(Set set, int piece, bool isWrite) =>
        [.. _buffers.Select((buffer, i) => buffer.Start(isWrite, _pieces[piece], set.Memory.Address + (nint)(i * _longest)))];

    private static void Wait(Set set)
    {
        DiskTransfer[] underWay = set.UnderWay;
        set.UnderWay = [];
        foreach (DiskTransfer transfer in underWay)
        {
            transfer.Wait();
        }
    }
}

/// <summary>Where and how states are kept on a disk.</summary>
/// <param name="Path">Folder on it.</param>
/// <param name="BufferCount">Buffers in memory, each of one piece of one state.</param>
/// <param name="PipelineRead">Reads the next piece while one is updated.</param>
/// <param name="PipelineWrite">Writes the last piece while one is updated.</param>
/// <param name="FastInit">Leaves new files as the file system makes them, without writing zeros.</param>
/// <param name="IsPinned">Page-locks the buffers.</param>
/// <param name="Disk">How transfers are cut up.</param>
internal sealed record DiskStateOptions(
    string Path, int BufferCount, bool PipelineRead, bool PipelineWrite, bool FastInit, bool IsPinned, DiskOptions Disk);
