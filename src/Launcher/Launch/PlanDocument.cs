using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The whole plan of a start, for <c>--dry_run</c>.</summary>
/// <param name="World">Hosts and slots.</param>
/// <param name="Environment">Variables for every rank.</param>
/// <param name="Ranks">The processes.</param>
/// <param name="Commands">What this machine starts to reach the other hosts; empty when it starts the ranks itself.</param>
internal sealed record PlanDocument(World World, IReadOnlyList<KeyValuePair<string, string>> Environment,
    IReadOnlyList<RankPlan> Ranks, IReadOnlyList<IReadOnlyList<string>> Commands)
{
    private static readonly JsonSerializerOptions Readable =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private string Launcher => World.Backend is { } backend ? Backends.NameOf(backend) : "local";

    /// <summary>The plan for programs.</summary>
    public string ToJson() => new JsonObject
    {
        ["hosts"] = new JsonArray([.. World.Hosts.Select(host =>
            new JsonObject { ["host"] = host.Host, ["slots"] = new JsonArray([.. host.Slots.Select(Slot)]) })]),
        ["master_addr"] = World.MasterAddress,
        ["master_port"] = World.MasterPort,
        ["world_size"] = World.Size,
        ["launcher"] = Launcher,
        ["environment"] = Object(Environment),
        ["ranks"] = new JsonArray([.. Ranks.Select(rank => new JsonObject
        {
            ["rank"] = rank.Rank,
            ["host"] = rank.Host,
            ["local_rank"] = rank.LocalRank,
            ["environment"] = Object(rank.Environment),
            ["command"] = new JsonArray([.. rank.CommandLine.Select(word => JsonValue.Create(word))]),
        })]),
    }.ToJsonString(Readable);

    /// <summary>The plan for people.</summary>
    public void Write(TextWriter output)
    {
        output.WriteLine($"world size  {World.Size} on {World.Hosts.Count} {(World.Hosts.Count == 1 ? "host" : "hosts")}");
        output.WriteLine($"master      {World.MasterAddress}:{World.MasterPort}");
        output.WriteLine($"launcher    {Launcher}");
        foreach (HostSlots host in World.Hosts)
        {
            output.WriteLine($"host        {host.Host}: slots {string.Join(',', host.Slots)}");
        }

        foreach ((string name, string value) in Environment)
        {
            output.WriteLine($"variable    {name}={value}");
        }

        foreach (IReadOnlyList<string> command in Commands)
        {
            output.WriteLine($"starts      {string.Join(' ', command.Select(ShellText.Quote))}");
        }

        foreach (RankPlan rank in Ranks)
        {
            output.WriteLine();
            output.WriteLine($"rank {rank.Rank} on {rank.Host}, local rank {rank.LocalRank}");
            output.WriteLine($"  {string.Join(' ', rank.CommandLine.Select(ShellText.Quote))}");
            foreach ((string name, string value) in rank.Environment)
            {
                output.WriteLine($"  {name}={value}");
            }
        }
    }

    private static JsonObject Object(IEnumerable<KeyValuePair<string, string>> variables) =>
        new(variables.Select(v => KeyValuePair.Create(v.Key, (JsonNode?)v.Value)));

    private static JsonNode? Slot(string slot) => WorldInfo.IsNumber(slot) ? JsonNode.Parse(slot) : JsonValue.Create(slot);
}
