using System.Globalization;
using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Settings of the store, from the environment.</summary>
internal sealed record StoreOptions
{
    private const int LongestSecret = 4096;

    /// <summary>DEEPSPEED_HEARTBEAT_INTERVAL: seconds between two signs of life of a rank.</summary>
    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>DEEPSPEED_HEARTBEAT_TIMEOUT: a rank that was silent for so many seconds is lost. Long enough for a pause of
    /// the garbage collector or a machine that swaps, short against what a hanging job costs.</summary>
    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long a connection may take to say who it is.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>DEEPSPEED_FLIGHT_RECORDER_DIR: folder for dumps after a failure; none when null.</summary>
    public string? DumpFolder { get; init; }

    /// <summary>DEEPSPEED_FLIGHT_RECORDER_SIZE: collectives that each rank remembers.</summary>
    public int RecorderCapacity { get; init; } = FlightRecorder.DefaultCapacity;

    /// <summary>What all ranks of the job know and nobody else; empty when the job has none.</summary>
    public ReadOnlyMemory<byte> Secret { get; init; }

    // A record would print it.
    private bool PrintMembers(StringBuilder text)
    {
        text.Append(CultureInfo.InvariantCulture,
            $"HeartbeatInterval = {HeartbeatInterval}, HeartbeatTimeout = {HeartbeatTimeout}, Secret = {(Secret.IsEmpty ? "none" : "given")}");
        return true;
    }

    /// <summary>Reads the settings.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <param name="timeout">DEEPSPEED_TIMEOUT; no heartbeat is waited for longer than that.</param>
    /// <exception cref="ConfigException">A value makes no sense, or the file of the secret cannot be read.</exception>
    public static StoreOptions Read(Func<string, string?> read, TimeSpan timeout)
    {
        var errors = new ConfigErrors();
        var defaults = new StoreOptions();
        TimeSpan? interval = Seconds("DEEPSPEED_HEARTBEAT_INTERVAL");
        TimeSpan? silence = Seconds("DEEPSPEED_HEARTBEAT_TIMEOUT");
        TimeSpan limit = silence ?? Shorter(defaults.HeartbeatTimeout, timeout);
        TimeSpan pause = interval ?? Shorter(defaults.HeartbeatInterval, limit / 4);
        if (limit < 3 * pause)
        {
            errors.Add("DEEPSPEED_HEARTBEAT_TIMEOUT", $"{limit.TotalSeconds} s is less than three times the interval of {pause.TotalSeconds} s",
                "one late heartbeat must not end the run: raise it, or lower DEEPSPEED_HEARTBEAT_INTERVAL");
        }

        int capacity = defaults.RecorderCapacity;
        if (read("DEEPSPEED_FLIGHT_RECORDER_SIZE") is { Length: > 0 } size
            && (!int.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out capacity) || capacity is < 1 or > 1_000_000))
        {
            errors.Add("DEEPSPEED_FLIGHT_RECORDER_SIZE", $"\"{size}\" is not a number of collectives", "use 1 to 1000000");
        }

        byte[] secret = SecretOf(read, errors);
        errors.ThrowIfAny("the environment of this process");
        return defaults with
        {
            HeartbeatInterval = pause,
            HeartbeatTimeout = limit,
            DumpFolder = read("DEEPSPEED_FLIGHT_RECORDER_DIR") is { Length: > 0 } folder ? folder : null,
            RecorderCapacity = capacity,
            Secret = secret,
        };

        TimeSpan? Seconds(string name)
        {
            if (read(name) is not { Length: > 0 } text)
            {
                return null;
            }

            if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) && seconds is >= 0.05 and <= 86_400)
            {
                return TimeSpan.FromSeconds(seconds);
            }

            errors.Add(name, $"\"{text}\" is not a number of seconds from 0.05 to 86400", "correct it or leave it out");
            return null;
        }
    }

    // The file is for Kubernetes, where a mounted secret is not seen by everyone who may read the pod's manifest.
    private static byte[] SecretOf(Func<string, string?> read, ConfigErrors errors)
    {
        string? text = read("DEEPSPEED_SECRET");
        if (read("DEEPSPEED_SECRET_FILE") is { Length: > 0 } file)
        {
            try
            {
                if (new FileInfo(file).Length > LongestSecret)
                {
                    errors.Add("DEEPSPEED_SECRET_FILE", $"{file} is longer than {LongestSecret} bytes", "name the file that holds the secret");
                    return [];
                }

                text = File.ReadAllText(file).Trim();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                errors.Add("DEEPSPEED_SECRET_FILE", $"{file} cannot be read: {e.Message}", "mount the job's secret there, or unset the variable");
                return [];
            }

            if (text.Length == 0)
            {
                errors.Add("DEEPSPEED_SECRET_FILE", $"{file} is empty", "write the job's secret into it, or unset the variable");
            }
        }

        return Encoding.UTF8.GetBytes(text ?? "");
    }

    private static TimeSpan Shorter(TimeSpan one, TimeSpan other) => one < other ? one : other;
}
