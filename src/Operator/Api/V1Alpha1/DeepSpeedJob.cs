using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Api.V1Alpha1;

/// <summary>A training job: a gang of pods that trains one model, restarted as a whole when one of them fails.</summary>
[KubernetesEntity(Group = DeepSpeedJobManifest.Group, ApiVersion = DeepSpeedJobManifest.Version,
    Kind = DeepSpeedJobManifest.Kind, PluralName = Plural)]
public sealed class DeepSpeedJob : IKubernetesObject<V1ObjectMeta>, ISpec<DeepSpeedJobSpec?>, IStatus<DeepSpeedJobStatus>
{
    /// <summary>Plural name of the kind, as in request paths.</summary>
    public const string Plural = "deepspeedjobs";

    /// <summary>API version of the kind, as in manifests.</summary>
    public const string GroupVersion = DeepSpeedJobManifest.Group + "/" + DeepSpeedJobManifest.Version;

    /// <summary>Path of a job at the API server.</summary>
    /// <param name="ns">Its namespace.</param>
    /// <param name="name">Its name.</param>
    public static string PathOf(string ns, string name) => $"/apis/{GroupVersion}/namespaces/{ns}/{Plural}/{name}";

    /// <inheritdoc/>
    public string ApiVersion { get; set; } = GroupVersion;

    /// <inheritdoc/>
    public string Kind { get; set; } = DeepSpeedJobManifest.Kind;

    /// <inheritdoc/>
    public V1ObjectMeta Metadata { get; set; } = new();

    /// <summary>What the job asks for; null when it could not be read, see <see cref="Problems"/>.</summary>
    public DeepSpeedJobSpec? Spec { get; set; }

    /// <summary>What the operator did and saw.</summary>
    public DeepSpeedJobStatus Status { get; set; } = new();

    /// <summary>What of this object could not be read. One such object must not hide the others from the operator.</summary>
    [JsonIgnore]
    public IReadOnlyList<ConfigError> Problems { get; private init; } = [];

    /// <summary>Whether the status could be read. Without it the attempt is unknown and nothing may be done.</summary>
    [JsonIgnore]
    public bool StatusIsReadable { get; private init; } = true;

    /// <summary>Namespace and name.</summary>
    [JsonIgnore]
    public string Key => $"{Metadata.NamespaceProperty}/{Metadata.Name}";

    /// <summary>Reads an object as the API server sends it; never throws for a wrong type in spec or status.</summary>
    /// <param name="element">The object.</param>
    /// <param name="known">An earlier state of an object of that name, whose spec is kept when it is the same one.</param>
    /// <param name="complete">Adds to a spec what the cluster gives to all jobs.</param>
    public static DeepSpeedJob Read(JsonElement element, DeepSpeedJob? known = null, Func<DeepSpeedJobSpec, DeepSpeedJobSpec>? complete = null)
    {
        V1ObjectMeta metadata = ReadMetadata(element.GetProperty("metadata"));
        bool isSame = known is not null && known.Metadata.Uid == metadata.Uid
            && metadata.Generation is { } generation && known.Metadata.Generation == generation;
        (DeepSpeedJobSpec? spec, IReadOnlyList<ConfigError> problems) = isSame ? (known!.Spec, known.Problems) : ReadSpec(element);
        spec = isSame || spec is null || complete is null ? spec : complete(spec);
        DeepSpeedJobStatus? status = ReadStatus(element);
        return new DeepSpeedJob
        {
            Metadata = metadata,
            Spec = spec,
            Status = status ?? new DeepSpeedJobStatus(),
            Problems = problems,
            StatusIsReadable = status is not null,
        };
    }

    // Who wrote which field, and what kubectl applied last, are larger than all the rest and of no use here: they are not even read.
    private static V1ObjectMeta ReadMetadata(JsonElement element) => new()
    {
        Name = element.Text("name"),
        NamespaceProperty = element.Text("namespace"),
        Uid = element.Text("uid"),
        ResourceVersion = element.Text("resourceVersion"),
        Generation = element.Number("generation"),
        Labels = Texts(element.Get("labels")),
        CreationTimestamp = element.Time("creationTimestamp")?.UtcDateTime,
        DeletionTimestamp = element.Time("deletionTimestamp")?.UtcDateTime,
    };

    private static Dictionary<string, string>? Texts(JsonElement map) => map.ValueKind == JsonValueKind.Object
        ? map.EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString()! : "") : null;

    private static (DeepSpeedJobSpec? Spec, IReadOnlyList<ConfigError> Problems) ReadSpec(JsonElement element)
    {
        var errors = new ConfigErrors();
        if (element.TryGetProperty("spec", out JsonElement spec) && JsonNode.Parse(spec.GetRawText()) is JsonObject node)
        {
            return (DeepSpeedJobManifest.ReadSpec(node, errors), errors.All);
        }

        errors.Add("spec", "it is missing", "add spec: with image, args and numNodes");
        return (null, errors.All);
    }

    private static DeepSpeedJobStatus? ReadStatus(JsonElement element)
    {
        try
        {
            return element.TryGetProperty("status", out JsonElement status) && status.ValueKind != JsonValueKind.Null
                ? status.Deserialize<DeepSpeedJobStatus>(DeepSpeedJobManifest.Json)
                : new DeepSpeedJobStatus();
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
