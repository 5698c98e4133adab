using System.Text;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>What a node prints: all of it goes to its log, each line to the console, the last lines to memory.</summary>
internal sealed class NodeOutput : IDisposable
{
    /// <summary>Number of lines kept for the report of a failure.</summary>
    public const int KeptLines = 20;

    // A longer line is shown in pieces, so that output without line ends cannot fill the memory.
    private const int LongestLine = 16 * 1024;

    private readonly LaunchNode _node;
    private readonly RunConsole _console;
    private readonly FileStream? _log;
    private readonly Action<string>? _onLine;
    private readonly Queue<string> _last = new();
    private readonly Lock _gate = new();

    public NodeOutput(LaunchNode node, string? logPath, RunConsole console, Action<string>? onLine = null)
    {
        (_node, _console, LogPath, _onLine) = (node, console, logPath, onLine);

        // Unbuffered: whoever follows the file sees each line when it comes.
        _log = logPath is null ? null : new FileStream(logPath, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
    }

    /// <summary>The log file; null when there is none.</summary>
    public string? LogPath { get; }

    /// <summary>The last lines, at most <see cref="KeptLines"/>.</summary>
    public IReadOnlyList<string> LastLines
    {
        get
        {
            lock (_gate)
            {
                return [.. _last];
            }
        }
    }

    /// <summary>Takes in a stream to its end.</summary>
    public async Task PumpAsync(Stream stream)
    {
        var buffer = new byte[16 * 1024];
        var line = new List<byte>();
        int count;
        while ((count = await stream.ReadAsync(buffer)) > 0)
        {
            lock (_gate)
            {
                _log?.Write(buffer, 0, count);
            }

            foreach (byte b in buffer.AsSpan(0, count))
            {
                if (b != '\n')
                {
                    line.Add(b);
                }

                if (b == '\n' || line.Count == LongestLine)
                {
                    Show(line);
                }
            }
        }

        if (line.Count > 0)
        {
            Show(line);
        }
    }

    public void Dispose() => _log?.Dispose();

    private void Show(List<byte> bytes)
    {
        string line = Encoding.UTF8.GetString([.. bytes]).TrimEnd('\r');
        bytes.Clear();
        _onLine?.Invoke(line);
        if (Heartbeat.Is(line))
        {
            return;
        }

        lock (_gate)
        {
            _last.Enqueue(line);
            if (_last.Count > KeptLines)
            {
                _last.Dequeue();
            }
        }

        _console.Relay(_node, line);
    }
}
