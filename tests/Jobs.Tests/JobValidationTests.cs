using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs.Tests;

public sealed class JobValidationTests
{
    private const string Head = "apiVersion: deepspeedsharp.dev/v1alpha1\nkind: DeepSpeedJob\nmetadata: { name: tiny }\nspec: ";

    [Theory]
    // Planned fields are refused by name, slips with the nearest one, inventions outright.
    [InlineData("{ resources: { claims: [] } }", "spec.resources.claims: this field is not supported yet; remove it")]
    [InlineData("{ numNode: 2 }", "spec.numNode: there is no such field; did you mean \"numNodes\"?")]
    [InlineData("{ ttlSecondsAfterFinish: 2 }", "spec.ttlSecondsAfterFinish: there is no such field; did you mean \"ttlSecondsAfterFinished\"?")]
    [InlineData("{ checkpoint: { claimName: a, subpath: b } }", "spec.checkpoint.subpath: there is no such field; did you mean \"subPath\"?")]
    [InlineData("{ metrics: { prot: 1 } }", "spec.metrics.prot: there is no such field; did you mean \"port\"?")]
    [InlineData("{ sidecarImages: [] }", "spec.sidecarImages: there is no such field; remove it")]
    [InlineData("{ env: [{ name: A, valu: b }] }", "spec.env[0].valu: there is no such field; did you mean \"value\"?")]
    // Ranges.
    [InlineData("{ numNodes: 0 }", "spec.numNodes: 0 is out of range; use a value from 1 to 10000")]
    [InlineData("{ gpusPerNode: 65 }", "spec.gpusPerNode: 65 is out of range; use a value from 0 to 64")]
    [InlineData("{ metrics: { port: 70000 } }", "spec.metrics.port: 70000 is out of range; use a value from 1 to 65535")]
    [InlineData("{ metrics: { path: m } }", "spec.metrics.path: \"m\" does not begin with /; write /m")]
    [InlineData("{ restart: { maxRestarts: -1 } }", "spec.restart.maxRestarts: -1 is out of range; use a value from 0 to 1000000")]
    [InlineData("{ args: [a, ] }", null)]
    [InlineData("{ args: [a, null] }", "spec.args[1]: the entry is empty; write a text, or \"\" for an empty one")]
    [InlineData("{ env: [null] }", "spec.env[0]: the entry is empty; give it a name and a value")]
    // Variables.
    [InlineData("{ env: [{ name: RANK, value: '0' }] }", "spec.env[0].name: RANK is set by the job itself; remove it")]
    [InlineData("{ env: [{ name: DSJ_CONFIG, value: a }] }", "spec.env[0].name: DSJ_CONFIG is set by the job itself; remove it")]
    [InlineData("{ env: [{ name: a-b, value: '0' }] }", "spec.env[0].name: \"a-b\" is not the name of a variable; use letters, digits and '_', not beginning with a digit")]
    [InlineData("{ env: [{ name: A, value: a }, { name: A, value: b }] }", "spec.env[1].name: A is given twice; keep one of them")]
    [InlineData("{ env: [{ name: A, value: a, valueFrom: {} }] }", "spec.env[0]: value and valueFrom are both given; keep one of them")]
    // Config and checkpoint.
    [InlineData("{ config: { train_batch_size: 4 }, configRef: { name: a } }", "spec.configRef: config and configRef are both given; keep one of them")]
    [InlineData("{ configRef: {} }", "spec.configRef.name: it is missing; name a ConfigMap of this namespace")]
    [InlineData("{ checkpoint: {} }", "spec.checkpoint: neither claimName nor volumeClaimTemplate is given; give exactly one of them")]
    [InlineData("{ checkpoint: { claimName: a, volumeClaimTemplate: { spec: {} } } }", "spec.checkpoint: claimName and volumeClaimTemplate are both given; give exactly one of them")]
    [InlineData("{ checkpoint: { claimName: a, subPath: ../b } }", "spec.checkpoint.subPath: \"../b\" is not a folder below the volume; use a relative path without ..")]
    [InlineData("{ checkpoint: { claimName: a, mountPath: b } }", "spec.checkpoint.mountPath: \"b\" is not an absolute path; write /b")]
    [InlineData("{ checkpoint: { volumeClaimTemplate: {} } }", "spec.checkpoint.volumeClaimTemplate.spec: it is missing; give accessModes, storageClassName and resources")]
    [InlineData("{ config: { train_batch_sise: 4, train_micro_batch_size_per_gpu: 1 } }", "spec.config.train_batch_sise: there is no such key; did you mean \"train_batch_size\"?")]
    [InlineData("{ numNodes: 2, gpusPerNode: 4, config: { train_batch_size: 30 } }", "spec.config.train_batch_size: 30 is not a multiple of 8 (ranks) = 8; use 24 or 32, or another number of ranks")]
    // Right by DeepSpeed's rules, and beyond what the engine does; "auto" is for the job's program to fill.
    [InlineData("{ numNodes: 2, config: { train_batch_size: 4, sequence_parallel_size: 2 } }", "spec.config.sequence_parallel_size: this setting is not supported yet; use 1")]
    [InlineData("{ config: { train_batch_size: 4, disable_allgather: true } }", "spec.config.disable_allgather: this setting is not supported yet; remove it")]
    [InlineData("{ config: { train_batch_size: auto, train_micro_batch_size_per_gpu: auto, optimizer: { type: AdamW, params: { lr: auto } } } }", null)]
    public void Check_Spec_SaysWhereWhatAndWhatToDo(string spec, string? expected)
    {
        IReadOnlyList<ConfigError> errors = Check(spec);

        Assert.Equal(expected is null ? [] : [expected], errors.Select(e => e.ToString()));
    }

    [Fact]
    public void Check_ManyProblems_ReportsAllAtOnce()
    {
        IReadOnlyList<ConfigError> errors = Check("""
            { numNodes: 0, gpusPerNode: 99, env: [{ name: RANK }], checkpoint: {}, resources: { claims: [] } }
            """);

        Assert.Equal(
        [
            "spec.checkpoint", "spec.env[0].name", "spec.gpusPerNode", "spec.numNodes", "spec.resources.claims",
        ], errors.Select(e => e.Path).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Check_TooManyEntries_IsRefused()
    {
        var errors = new ConfigErrors();

        JobValidation.Check(new DeepSpeedJobSpec { Args = [.. Enumerable.Repeat("a", 1025)] }, errors);

        Assert.Equal("spec.args: it has 1025 entries; use at most 1024", Assert.Single(errors.All).ToString());
    }

    [Theory]
    [InlineData("tiny", true)]
    [InlineData("gpt-2-small", true)]
    [InlineData("", false)]
    [InlineData("Tiny", false)]
    [InlineData("2tiny", false)]
    [InlineData("tiny-", false)]
    [InlineData("a.b", false)]
    [InlineData("a-name-of-exactly-fifty-characters-is-still-short-x", false)]
    [InlineData("a-name-of-exactly-fifty-characters-is-still-short1", true)]
    public void CheckName_Name_MustBePartOfAHostName(string name, bool isValid)
    {
        var errors = new ConfigErrors();

        JobValidation.CheckName(name, errors);

        Assert.Equal(isValid, !errors.Any);
    }

    [Fact]
    public void ReservedVariables_CoverEveryVariableOfAPlan()
    {
        var placement = new JobPlacement(_ => "a", 1, "/config", "/hostfile", "/checkpoints", _ => 2);
        JobPlan plan = JobPlan.From(new DeepSpeedJobSpec(), new JobIdentity("a", "b", "c", 1, 0), placement);

        Assert.Subset(JobValidation.ReservedVariables.ToHashSet(), plan.Nodes[0].Environment.Select(v => v.Key).ToHashSet());
    }

    private static IReadOnlyList<ConfigError> Check(string spec)
    {
        try
        {
            DeepSpeedJobManifest.Parse(Head + spec);
            return [];
        }
        catch (ConfigException e)
        {
            return e.Errors;
        }
    }
}
