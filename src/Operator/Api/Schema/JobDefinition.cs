using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Api.Schema;

/// <summary>The CustomResourceDefinition of DeepSpeedJob. Servers before Kubernetes 1.25 drop its CEL rules, which the
/// operator checks too; kubectl before 1.25 needs <c>--validate=false</c> to apply it.</summary>
internal static class JobDefinition
{
    private const string Header = """
        # Made from the C# types in src/Jobs and src/Operator/Api by `deepspeed-operator generate crd`; do not edit.

        """;

    /// <summary>The definition as YAML; equal types give equal text.</summary>
    public static string Yaml() => Header + YamlText.Write(Build());

    /// <summary>The definition.</summary>
    public static JsonObject Build() => new()
    {
        ["apiVersion"] = "apiextensions.k8s.io/v1",
        ["kind"] = "CustomResourceDefinition",
        ["metadata"] = new JsonObject
        {
            ["name"] = $"{DeepSpeedJob.Plural}.{DeepSpeedJobManifest.Group}",
            ["labels"] = new JsonObject { ["app.kubernetes.io/part-of"] = "deepspeedsharp" },
            ["annotations"] = new JsonObject { [ServedSchema.VersionAnnotation] = ServedSchema.Version },
        },
        ["spec"] = new JsonObject
        {
            ["group"] = DeepSpeedJobManifest.Group,
            ["scope"] = "Namespaced",
            ["names"] = new JsonObject
            {
                ["kind"] = DeepSpeedJobManifest.Kind,
                ["listKind"] = DeepSpeedJobManifest.Kind + "List",
                ["plural"] = DeepSpeedJob.Plural,
                ["singular"] = "deepspeedjob",
                ["shortNames"] = new JsonArray("dsj"),
                ["categories"] = new JsonArray("training"),
            },
            ["versions"] = new JsonArray(new JsonObject
            {
                ["name"] = DeepSpeedJobManifest.Version,
                ["served"] = true,
                ["storage"] = true,
                ["subresources"] = new JsonObject
                {
                    ["status"] = new JsonObject(),
                    ["scale"] = new JsonObject
                    {
                        ["specReplicasPath"] = ".spec.numNodes",
                        ["statusReplicasPath"] = ".status.replicas",
                        ["labelSelectorPath"] = ".status.selector",
                    },
                },
                ["additionalPrinterColumns"] = Columns(),
                ["schema"] = new JsonObject { ["openAPIV3Schema"] = Schema() },
            }),
        },
    };

    private static JsonObject Schema() => new()
    {
        ["description"] = "A training job: a gang of pods that trains one model, restarted as a whole when one of them fails.",
        ["type"] = "object",
        ["required"] = new JsonArray("spec"),
        ["properties"] = new JsonObject
        {
            ["apiVersion"] = new JsonObject { ["type"] = "string" },
            ["kind"] = new JsonObject { ["type"] = "string" },
            ["metadata"] = new JsonObject
            {
                ["type"] = "object",
                ["properties"] = new JsonObject
                {
                    // The name becomes part of host names and names a Service.
                    ["name"] = new JsonObject
                    {
                        ["type"] = "string",
                        ["maxLength"] = JobValidation.LongestName,
                        ["pattern"] = "^[a-z]([-a-z0-9]*[a-z0-9])?$",
                    },
                },
            },
            ["spec"] = SchemaOf.Record(typeof(DeepSpeedJobSpec), "What the job asks for."),
            ["status"] = SchemaOf.Record(typeof(DeepSpeedJobStatus), "What the operator did and saw."),
        },
    };

    private static JsonArray Columns() =>
    [
        Column("Phase", "string", ".status.phase", "One-word summary of the conditions"),
        Column("Nodes", "string", ".status.nodesText", "Ready or succeeded nodes, and nodes wanted"),
        Column("Step", "integer", ".status.progress.step", "Optimizer steps done"),
        Column("Loss", "string", ".status.progress.loss", "Training loss of the last step"),
        Column("Restarts", "integer", ".status.restarts", "Restarts that count towards the limit"),
        Column("Age", "date", ".metadata.creationTimestamp", "Time since the job was made"),
        Column("Attempt", "integer", ".status.attempt", "Number of the current start", wide: true),
        Column("Progress", "integer", ".status.progress.percent", "Percent of the steps", wide: true),
        Column("Batch", "integer", ".status.batch.trainBatchSize", "Samples of one optimizer step", wide: true),
        Column("Tokens/s", "integer", ".status.progress.tokensPerSecond", "Tokens per second over all ranks", wide: true),
        Column("Checkpoint", "integer", ".status.progress.lastCheckpointStep", "Step of the last checkpoint", wide: true),
        Column("Message", "string", ".status.message", "What the job waits for, or why it failed", wide: true),
    ];

    private static JsonObject Column(string name, string type, string path, string description, bool wide = false)
    {
        var column = new JsonObject { ["name"] = name, ["type"] = type, ["jsonPath"] = path, ["description"] = description };
        if (wide)
        {
            column["priority"] = 1;
        }

        return column;
    }
}
