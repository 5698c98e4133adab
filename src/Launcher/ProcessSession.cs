using System.Globalization;

namespace DeepSpeedSharp.Launcher;

/// <summary>A child process and everything it started: all processes of its session.</summary>
/// <remarks>
/// Unlike a walk from parent to child, the session also finds processes whose parent has ended. The leader's start
/// time tells the session from a later one with the same number.
/// </remarks>
/// <param name="Leader">Process id of the child, which is also the session's id.</param>
/// <param name="LeaderStart">When the leader started, in the kernel's ticks.</param>
internal sealed record ProcessSession(int Leader, long LeaderStart)
{
    /// <summary>The session of a child that was just started.</summary>
    /// <param name="processId">The child.</param>
    public static ProcessSession Of(int processId) => new(processId, Stat.Read(processId)?.Start ?? 0);

    /// <summary>The session as one line for <see cref="Parse"/>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Leader} {LeaderStart}");

    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    public static ProcessSession Parse(string text)
    {
        string[] parts = text.Split(' ');
        return new ProcessSession(int.Parse(parts[0], CultureInfo.InvariantCulture),
            long.Parse(parts[1], CultureInfo.InvariantCulture));
    }

    /// <summary>Whether the program that was started still runs.</summary>
    public bool HasLeader => Stat.Read(Leader) is { IsAlive: true } leader && leader.Start == LeaderStart;

    /// <summary>Asks the program to save and end, as the kubelet asks a container's first process.</summary>
    public void Terminate()
    {
        if (HasLeader)
        {
            _ = Libc.Send(Leader, Libc.Terminate);
        }
    }

    // The leader is among them even before its session exists.
    private List<int> Members()
    {
        if (Stat.Read(Leader) is { } leader && leader.Start != LeaderStart)
        {
            return [];
        }

        var members = new List<int>();
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out int id)
                && Stat.Read(id) is { IsAlive: true } stat && (id == Leader || stat.Session == Leader))
            {
                members.Add(id);
            }
        }

        return members;
    }

    /// <summary>Kills every process of the session.</summary>
    public void Kill()
    {
        // Again until none is left: a process may have forked between the look and the signal.
        for (int round = 0; round < 100; round++)
        {
            List<int> members = Members();
            if (members.Count == 0)
            {
                return;
            }

            foreach (int id in members)
            {
                _ = Libc.Send(id, Libc.Kill);
            }
        }
    }

    /// <summary>A line of <c>/proc/PID/stat</c>.</summary>
    private sealed record Stat(char State, int Session, long Start)
    {
        public bool IsAlive => State is not ('Z' or 'X');

        public static Stat? Read(int processId)
        {
            try
            {
                string text = File.ReadAllText($"/proc/{processId}/stat");

                // The second field is the program's name in parentheses and may hold spaces; count from its end.
                string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
                return new Stat(fields[0][0], int.Parse(fields[3], CultureInfo.InvariantCulture),
                    long.Parse(fields[19], CultureInfo.InvariantCulture));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }
    }
}
