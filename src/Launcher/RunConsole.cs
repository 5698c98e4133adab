namespace DeepSpeedSharp.Launcher;

/// <summary>What a run shows: the ranks' lines and the launcher's own, never mixed within a line.</summary>
/// <param name="output">For the ranks' lines and the run's course.</param>
/// <param name="error">For failures.</param>
/// <param name="colours">Whether each node's prefix has a colour.</param>
/// <param name="quiet">Whether only the ranks' lines and failures are shown.</param>
internal sealed class RunConsole(TextWriter output, TextWriter error, bool colours, bool quiet = false)
{
    // Cyan, yellow, green, magenta, blue, red.
    private static readonly int[] Palette = [36, 33, 32, 35, 34, 31];
    private static readonly TimeSpan Turn = TimeSpan.FromMilliseconds(100);
    private readonly Lock _line = new();
    private volatile bool _isMute;

    /// <summary>The console of this process; plain when it is no terminal or NO_COLOR is set (no-color.org).</summary>
    public static RunConsole OfProcess(bool quiet = false) => new(Console.Out, Console.Error,
        !Console.IsOutputRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")), quiet);

    /// <summary>Shows a line of a node.</summary>
    public void Relay(LaunchNode node, string line)
    {
        string prefix = $"[{node.Label}]";
        Write(output, colours ? $"\e[{Palette[node.Index % Palette.Length]}m{prefix}\e[0m {line}" : $"{prefix} {line}");
    }

    /// <summary>Shows something the launcher has to say.</summary>
    public void Say(string text)
    {
        if (!quiet)
        {
            Write(output, $"deepspeed: {text}");
        }
    }

    /// <summary>Shows a line as it is.</summary>
    public void Detail(string line) => Write(output, line);

    /// <summary>Shows nothing any more, because nobody is there to read it; never waits for a writer that waits for ever.</summary>
    public void Mute() => _isMute = true;

    /// <summary>Shows a failure and its details.</summary>
    public void Problem(string text, params IEnumerable<string> details) =>
        Write(error, [$"deepspeed: {text}", .. details]);

    private void Write(TextWriter writer, params IEnumerable<string> lines)
    {
        while (!_isMute)
        {
            if (!_line.TryEnter(Turn))
            {
                continue;
            }

            try
            {
                foreach (string line in lines)
                {
                    writer.WriteLine(line);
                }

                writer.Flush();
                return;
            }
            finally
            {
                _line.Exit();
            }
        }
    }
}
