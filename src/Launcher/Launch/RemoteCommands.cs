namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The command lines that start launchers on other hosts.</summary>
internal static class RemoteCommands
{
    // As many connections at once as pdsh may have; DeepSpeed's number.
    private const string FanOut = "1024";

    /// <summary>Variable with arguments for the ssh that pdsh starts.</summary>
    public const string PdshSshArguments = "PDSH_SSH_ARGS_APPEND";

    /// <summary>Words that start a command on a host: never a question, never a wait without end.</summary>
    public static IReadOnlyList<string> SshTo(string host, LaunchOptions options) =>
    [
        "ssh", "-o", "BatchMode=yes", "-o", "PasswordAuthentication=no", "-o", "ConnectTimeout=10",
        "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",
        .. options.SshPort is { } port ? ["-p", $"{port}"] : (string[])[], host,
    ];

    /// <summary>ssh to one host.</summary>
    public static IReadOnlyList<string> Ssh(World world, int node, LaunchOptions options,
        IReadOnlyList<KeyValuePair<string, string>> exports, NodeCommand command)
    {
        IReadOnlyList<string> ssh = SshTo(world.Hosts[node].Host, options);
        return [.. ssh.SkipLast(1), .. Words(options.BackendArguments), ssh[^1],
            command.ShellText(world, options, exports, $"{node}")];
    }

    /// <summary>One pdsh for all hosts; <c>-S</c> gives back the largest exit code.</summary>
    public static IReadOnlyList<string> Pdsh(
        World world, LaunchOptions options, IReadOnlyList<KeyValuePair<string, string>> exports, NodeCommand command)
    {
        // pdsh reads % in the command as the beginning of %h, %u or %n.
        const string Rank = " --node_rank=%";
        string text = command.ShellText(world, options, exports, "%n").Replace("%", "%%", StringComparison.Ordinal);
        text = text.Remove(text.IndexOf(Rank, StringComparison.Ordinal) + Rank.Length, 1);
        return ["pdsh", "-S", "-f", FanOut, "-w", string.Join(',', world.Hosts.Select(host => host.Host)),
            .. Words(options.BackendArguments), text];
    }

    /// <summary>Variables for pdsh itself.</summary>
    /// <param name="options">The options.</param>
    /// <param name="own">The user's own arguments for pdsh's ssh; null for none.</param>
    public static IReadOnlyList<KeyValuePair<string, string>> PdshEnvironment(LaunchOptions options, string? own) =>
    [
        new("PDSH_RCMD_TYPE", "ssh"),
        new(PdshSshArguments, string.Join(' ', [.. SshTo("", options).Skip(1).SkipLast(1), .. own is null ? [] : (string[])[own]])),
    ];

    /// <summary>Divides a text into words as a shell does, quotes included.</summary>
    public static IReadOnlyList<string> Words(string text)
    {
        var words = new List<string>();
        var word = new System.Text.StringBuilder();
        (bool inWord, char quote) = (false, '\0');
        foreach (char c in text)
        {
            if (quote != '\0')
            {
                _ = c == quote ? null : word.Append(c);
                quote = c == quote ? '\0' : quote;
            }
            else if (c is '"' or '\'')
            {
                (inWord, quote) = (true, c);
            }
            else if (char.IsWhiteSpace(c))
            {
                Close();
            }
            else
            {
                inWord = true;
                word.Append(c);
            }
        }

        Close();
        return quote == '\0' ? words
            : throw Refusal.Option("--launcher_args", $"a quote in \"{text}\" has no end", "close it");

        void Close()
        {
            if (inWord)
            {
                words.Add(word.ToString());
            }

            word.Clear();
            inWord = false;
        }
    }
}
