using System.Text.Json;
using DeepSpeedSharp.Worker.Tests;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>Training as users start it, against the losses of the original.</summary>
public sealed class LossCurveTests
{
    [Theory]
    [InlineData("zero0_adam")]
    [InlineData("zero0_onecycle")]
    [InlineData("zero3_adamw_cosine_clip")]
    public async Task Run_JobOfTwoNodes_ReproducesTheLossCurveOfTheOriginal(string name)
    {
        LossCurve original = LossCurve.Read(name);
        using var job = new JobFolder();
        string[] arguments = ["train", $"--model={LossCurve.Folder}", $"--data={LossCurve.Tokens}",
            $"--sequence-length={LossCurve.SequenceLength}", $"--max-steps={original.Steps}", $"--metrics-file={job.Of("metrics.jsonl")}"];
        job.Write(JobFolder.Manifest, $$"""
            apiVersion: deepspeedsharp.dev/v1alpha1
            kind: DeepSpeedJob
            metadata: { name: curve }
            spec:
              numNodes: {{original.WorldSize}}
              gpusPerNode: 0
              args: {{JsonSerializer.Serialize(arguments)}}
              config: {{original.Config}}
            """);

        (int exitCode, string text) = await job.RunAsync();

        Assert.True(exitCode == 0, text);
        Assert.Contains("2 nodes x 1 slot = 2 ranks", text, StringComparison.Ordinal);
        original.AssertEqual(MetricsLine.Read(job.Of("metrics.jsonl")));
    }
}
