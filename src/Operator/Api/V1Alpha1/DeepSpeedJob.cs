using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
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
    public static DeepSpeedJob Read(JsonElement element)
    {
        var errors = new ConfigErrors();
        DeepSpeedJobSpec? spec = null;
        if (element.TryGetProperty("spec", out JsonElement specElement)
            && JsonNode.Parse(specElement.GetRawText()) is JsonObject specNode)
        {
            spec = DeepSpeedJobManifest.ReadSpec(specNode, errors);
        }
        else
        {
            errors.Add("spec", "it is missing", "add spec: with image, args and numNodes");
        }

        DeepSpeedJobStatus? status = ReadStatus(element);
        return new DeepSpeedJob
        {
            Metadata = KubernetesJson.Deserialize<V1ObjectMeta>(element.GetProperty("metadata").GetRawText()),
            Spec = spec,
            Status = status ?? new DeepSpeedJobStatus(),
            Problems = errors.All,
            StatusIsReadable = status is not null,
        };
    }

    /// <summary>The same object with another spec.</summary>
    public DeepSpeedJob With(DeepSpeedJobSpec? spec) => new()
    {
        Metadata = Metadata,
        Spec = spec,
        Status = Status,
        Problems = Problems,
        StatusIsReadable = StatusIsReadable,
    };

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
