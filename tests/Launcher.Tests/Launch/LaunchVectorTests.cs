using System.Text.Json;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests.Launch;

/// <summary>Every case of <c>launcher_cli.json</c>: from the words of the command line to hosts, slots and variables.</summary>
public sealed class LaunchVectorTests
{
    private const string WorkingFolder = "/project";

    public static TheoryData<int> Cases() => Vectors.Indices("launcher_cli");

    [Fact]
    public void Cases_File_HasAllOfThem() => Assert.Equal(60, Cases().Count);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Resolve_Vector_AgreesWithDeepSpeedOrTheRecommendation(int index)
    {
        JsonElement vector = Vectors.Read("launcher_cli")[index];
        JsonElement reference = vector.GetProperty("reference");
        JsonElement recommended = vector.TryGetProperty("recommended", out JsonElement r) ? r : default;

        // DeepSpeed lets visible devices contradict --num_nodes 1, a known trap: the devices are used.
        bool isTrap = Note(vector).StartsWith("--num_nodes 1 does not disable the mask", StringComparison.Ordinal);
        bool isCorrected = recommended.ValueKind == JsonValueKind.Object && Vectors.ErrorKind(recommended) is null;
        if (Vectors.ErrorKind(recommended) is { } better)
        {
            Vectors.Refuses(better, () => Resolve(vector));
        }
        else if (reference.TryGetProperty("exit", out JsonElement exit))
        {
            Assert.Equal(2, exit.GetInt32());
            Assert.Throws<UsageException>(() => Resolve(vector));
        }
        else if (Vectors.ErrorKind(reference) is { } kind && !isTrap && !isCorrected)
        {
            Vectors.Refuses(kind, () => Resolve(vector));
        }
        else
        {
            (LaunchOptions options, World world) = Resolve(vector);
            if (isTrap)
            {
                Assert.Equal(["localhost 2,3"], Vectors.Hosts(world.Hosts));
            }
            else if (Vectors.ErrorKind(reference) is null)
            {
                AssertWorld(reference, recommended, options, world);
            }

            AssertRecommended(recommended, vector, world);
            AssertExports(reference, vector);
        }
    }

    private static void AssertWorld(JsonElement reference, JsonElement recommended, LaunchOptions options, World world)
    {
        // Elastic training follows each host by a connection of its own.
        string? mode = options.ElasticTraining ? "ssh" : reference.GetProperty("mode").GetString();
        Assert.Equal(mode, world.Backend is { } b ? Backends.NameOf(b) : "local");
        Assert.Equal(reference.GetProperty("master_addr").GetString(), world.MasterAddress);
        Assert.Equal(reference.GetProperty("master_port").GetString(), $"{world.MasterPort}");
        if (recommended.ValueKind != JsonValueKind.Object || !recommended.TryGetProperty("world_info", out _))
        {
            Assert.Equal(Vectors.Hosts(reference.GetProperty("world_info")), Vectors.Hosts(world.Hosts));
            Assert.Equal(reference.GetProperty("world_info_base64").GetString(), WorldInfo.Encode(world.Hosts));
        }

        string[] flags = reference.TryGetProperty("launch_flags", out JsonElement f) ? Strings(f) : [];
        Assert.Equal(flags.Contains("--enable_elastic_training"), options.ElasticTraining);
        Assert.Equal(flags.Where(f => f != "--enable_elastic_training").Order(), NodeCommand.Flags(options).Order());
        if (reference.TryGetProperty("node_rank", out JsonElement rank))
        {
            Assert.Equal(rank.GetString(), world.Backend is null ? $"{world.NodeRank}" : "%n");
        }

        if (reference.TryGetProperty("pdsh_hosts", out JsonElement hosts))
        {
            IReadOnlyList<string> command = RemoteCommands.Pdsh(world, options, [], NodeCommand.Here with { Folder = WorkingFolder });
            Assert.Contains(hosts.GetString(), command);
            Assert.Contains("--node_rank=%n", command[^1], StringComparison.Ordinal);
            Assert.EndsWith($"{string.Join(' ', Strings(reference.GetProperty("user")))}; exit $?", command[^1], StringComparison.Ordinal);
        }
        else
        {
            Assert.Equal(Strings(reference.GetProperty("user")), new[] { options.Program }.Concat(options.ProgramArguments));
        }
    }

    private static void AssertRecommended(JsonElement recommended, JsonElement vector, World world)
    {
        if (recommended.ValueKind != JsonValueKind.Object)
        {
            return;
        }

        if (recommended.TryGetProperty("world_info", out JsonElement info))
        {
            Assert.Equal(Vectors.Hosts(info), Vectors.Hosts(world.Hosts));
        }
        else if (recommended.TryGetProperty("note", out JsonElement note) && note.GetString()!.Contains("UUID", StringComparison.Ordinal))
        {
            Assert.Equal(["localhost GPU-1a2b3c4d"], Vectors.Hosts(world.Hosts));
        }
        else
        {
            Dictionary<string, string> files = Files(vector).ToDictionary();
            Assert.NotEmpty(files);
            foreach (JsonProperty e in recommended.TryGetProperty("exports_contain", out JsonElement c) ? c.EnumerateObject() : default)
            {
                Assert.Equal(e.Value.GetString(), files[e.Name]);
            }
        }
    }

    private static void AssertExports(JsonElement reference, JsonElement vector)
    {
        if (!reference.TryGetProperty("exports", out JsonElement expected))
        {
            return;
        }

        Assert.Equal(
            expected.EnumerateObject().Select(e => (e.Name, e.Value.GetString()!.Replace("<CWD>", WorkingFolder, StringComparison.Ordinal))).Order(),
            Exports.ForOtherHosts(Environment(vector), WorkingFolder, Files(vector)).Select(e => (e.Key, ShellText.Value(e.Value))).Order());
    }

    private static (LaunchOptions Options, World World) Resolve(JsonElement vector)
    {
        LaunchOptions options = LaunchOptionReader.Read(Strings(vector.GetProperty("argv")));
        bool isReachable = !vector.TryGetProperty("ssh_ok", out JsonElement ok) || ok.GetBoolean();
        var around = new Surroundings(vector.GetProperty("hostfile").GetString(), Environment(vector),
            vector.GetProperty("device_count").GetInt32,
            (_, command) => new SshAnswer(isReachable, command == "hostname -I" ? "10.0.0.11 fe80::1 \n" : "host\n"), _ => true);
        return (options, World.Resolve(options, around));
    }

    private static Dictionary<string, string> Environment(JsonElement vector)
    {
        var environment = vector.GetProperty("env").EnumerateObject().ToDictionary(e => e.Name, e => e.Value.GetString()!);
        environment["HOME"] = "/home";
        return environment;
    }

    private static List<KeyValuePair<string, string>> Files(JsonElement vector)
    {
        var texts = new Dictionary<string, string>();
        foreach (JsonElement file in vector.TryGetProperty("env_files", out JsonElement files) ? files.EnumerateArray() : default)
        {
            string folder = file.GetProperty("where").GetString() == "home" ? "/home" : WorkingFolder;
            texts[$"{folder}/{file.GetProperty("name").GetString()}"] = file.GetProperty("text").GetString()!;
        }

        return [.. EnvironmentFile.Paths(Environment(vector), WorkingFolder).Where(texts.ContainsKey)
            .SelectMany(path => EnvironmentFile.Parse(texts[path], path)).GroupBy(v => v.Key).Select(g => g.Last())];
    }

    private static string[] Strings(JsonElement list) => [.. list.EnumerateArray().Select(e => e.GetString()!)];

    private static string Note(JsonElement vector) => vector.TryGetProperty("note", out JsonElement note) ? note.GetString()! : "";
}
