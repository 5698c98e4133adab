namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>A folder with a shell script that plays the user's program, and with others that play ssh and pdsh: they run
/// their commands on this machine, out of reach of the front end but for the connection, as on another host.</summary>
internal sealed class RankFolder : IDisposable
{
    private const string Ssh = """
        #!/bin/sh
        while :; do case $1 in -o|-p) shift 2;; -*) shift;; *) break;; esac; done
        host=$1; shift
        case $host in gone*) echo "ssh: Could not resolve hostname $host" >&2; exit 255;; esac
        [ "$*" = "hostname -I" ] && { echo "127.0.0.1 "; exit 0; }
        [ "$host" = bare ] && PATH=/usr/local/bin:/usr/bin:/bin
        exec setsid -w sh -c "$*"
        """;

    // As with the real one: nothing comes through the input of a command, which ends when pdsh does.
    private const string Pdsh = """
        #!/bin/sh
        while [ $# -gt 1 ]; do case $1 in -w) hosts=$2; shift 2;; -f) shift 2;; *) shift;; esac; done
        n=0; state=$(mktemp -d); mkfifo "$state/input"
        sleep 1000 > "$state/input" & open=$!
        running=
        for host in $(echo "$hosts" | tr , ' '); do
          command=$(printf %s "$1" | sed "s/%%/\x01/g; s/%n/$n/g; s/\x01/%/g")
          { { setsid -w sh -c "$command" < "$state/input"; echo $? > "$state/$n"; } 2>&1 | sed -u "s/^/$host: /"
            code=$(cat "$state/$n")
            [ "$code" = 0 ] || echo "pdsh@fake: $host: ssh exited with exit code $code" >&2; } &
          running="$running $!"
          n=$((n + 1))
        done
        wait $running; kill $open
        code=$(cat "$state"/[0-9]* | sort -n | tail -n 1); rm -r "$state"; exit "$code"
        """;

    private readonly JobFolder _folder = new();

    public RankFolder(string script)
    {
        Executable("rank.sh", $"#!/bin/sh\n{script}\n");
        Executable("bin/ssh", Ssh);
        _folder.Write("hosts", "one slots=2\ntwo slots=2\n");
    }

    public string Path => _folder.Path;

    /// <summary>Lets the front end find pdsh too.</summary>
    public RankFolder WithPdsh()
    {
        Executable("bin/pdsh", Pdsh);
        return this;
    }

    public string Write(string name, string text) => _folder.Write(name, text);

    public void Executable(string name, string text) => _folder.Executable(name, text);

    public LauncherProcess Start(params string[] args) => LauncherProcess.Start(Path,
        [("PATH", $"{Path}/bin:{Environment.GetEnvironmentVariable("PATH")}"), ("HOME", Path), ("GREETING_OF_FRONT", "x")], args);

    public async Task<(int ExitCode, string Text)> RunAsync(params string[] args)
    {
        using LauncherProcess launcher = Start(args);
        return (await launcher.ExitAsync(), launcher.Text);
    }

    public void Dispose() => _folder.Dispose();
}
