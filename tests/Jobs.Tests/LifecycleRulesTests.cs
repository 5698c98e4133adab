using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs.Tests;

public sealed class LifecycleRulesTests
{
    [Theory]
    [InlineData("launcher: Torch", "spec.launcher: there is no \"Torch\"; did you mean Torchrun?")]
    [InlineData("restart: { strategy: InPlace }", "spec.restart.strategy: InPlace is not supported yet; use Blocking or Replace")]
    [InlineData("progress: { mode: Push }", "spec.progress.mode: Push is not supported yet; use Pull or None")]
    [InlineData("progress: { mode: None }\n  progressDeadlineSeconds: 60", "spec.progressDeadlineSeconds: progress.mode is None")]
    [InlineData("progressDeadlineSeconds: 1", "spec.progressDeadlineSeconds: 1 is out of range; use a value of at least 5")]
    [InlineData("managedBy: me", "spec.managedBy: \"me\" is not a domain and a path")]
    [InlineData("elastic: { minNodes: 3, maxNodes: 2 }", "spec.elastic: minNodes is 3 and maxNodes 2; exchange them")]
    [InlineData("elastic: { minNodes: 2, maxNodes: 3 }", "spec.numNodes: 1 is not between elastic.minNodes and elastic.maxNodes")]
    [InlineData("elastic: { maxNodes: 1 }\n  launcher: PerGpu", "spec.elastic: a job with one pod per GPU cannot change its size")]
    [InlineData("restart: { rules: [{ name: a, action: Restart }] }", "spec.restart.rules[0]: it says nothing about what it matches")]
    [InlineData("restart: { rules: [{ name: a, exitCodes: [0], action: Restart }] }", "spec.restart.rules[0].exitCodes: 0 is not the exit code of a failure")]
    [InlineData("restart: { rules: [{ name: a, exitCodes: [1] }] }", "spec.restart.rules[0].action: it is missing")]
    [InlineData("restart: { rules: [{ name: a, messagePattern: '(a)\\1', action: Restart }] }", "spec.restart.rules[0].messagePattern")]
    [InlineData("restart: { rules: [{ name: a, exitCodes: [1], actoin: Restart, action: Restart }] }", "spec.restart.rules[0].actoin: there is no such field; did you mean \"action\"?")]
    [InlineData("restart: { backoffSeconds: 400 }", "spec.restart.backoffSeconds: 400 is more than backoffMaxSeconds, which is 300")]
    [InlineData("scheduling: { topology: {} }", "spec.scheduling.topology: it needs exactly one of required and preferred")]
    [InlineData("network: { port: 9400 }", "spec.network.port: 9400 is the metrics port too")]
    [InlineData("shm: { enabled: false, sizeLimit: 1Gi }", "spec.shm.sizeLimit: shm.enabled is false")]
    [InlineData("env: [{ name: PET_NNODES, value: '1' }]", "spec.env[0].name: PET_NNODES is set by the job itself")]
    [InlineData("cleanPodPolicy: all", "spec.cleanPodPolicy: there is no \"all\"")]
    public void Spec_ThatBreaksARule_IsRefusedByName(string field, string problem)
    {
        ConfigException e = Assert.Throws<ConfigException>(() => DeepSpeedJobManifest.Parse($"""
            apiVersion: deepspeedsharp.dev/v1alpha1
            kind: DeepSpeedJob
            metadata: {"{"} name: a {"}"}
            spec:
              {field}
            """));

        Assert.Contains(problem, e.Message);
    }

    [Fact]
    public void PythonImage_MayKnowOtherSettings_ButNotOtherArithmetic()
    {
        const string Config = """{"train_batch_size":30,"train_micro_batch_size_per_gpu":4,"some_newer_setting":1}""";
        var ours = new DeepSpeedJobSpec();
        DeepSpeedJobSpec python = ours with { Launcher = "DeepSpeed" };

        Assert.Equal(["some_newer_setting", "train_batch_size"], JobConfig.Check(Config, ours).Problems.Select(p => p.Path).Order());
        Assert.Equal(["train_batch_size"], JobConfig.Check(Config, python).Problems.Select(p => p.Path));
        Assert.Equal(8, JobConfig.Check("""{"train_batch_size":8,"some_newer_setting":1}""", python).Batch!.TrainBatchSize);
    }

    [Fact]
    public void WorldInfo_IsWhatDeepSpeedsRunnerEncodes() =>

        // base64.urlsafe_b64encode(json.dumps({"a": [0, 1], "b": [0, 1]}, separators=(",", ":")).encode())
        Assert.Equal("eyJhIjpbMCwxXSwiYiI6WzAsMV19", LauncherVariables.EncodeWorldInfo(["a", "b"], 2));
}
