using System.Diagnostics;
using System.Globalization;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>A program that is not this project's, on the packages alone: by itself, and as a job of two ranks.</summary>
public sealed class SampleTests : IClassFixture<PublishedSample>
{
    private const int Kill = 9;

    [Fact]
    public void Sample_Packages_AreThoseOfThisBuild()
    {
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string built = Path.Combine(PublishedSample.Root, "artifacts", "bin", "Engine", configuration, "DeepSpeedSharp.Engine.dll");

        Assert.Equal(File.ReadAllBytes(built),
            File.ReadAllBytes(Path.Combine(PublishedSample.Folder, "DeepSpeedSharp.Engine.dll")));
    }

    [Fact]
    public async Task Sample_KilledAlone_ResumesAndLearns()
    {
        using var folder = new JobFolder();
        using Process first = Run(folder, "1000000");
        double firstLoss = LossOf(await LineAsync(first, "step 100 "));
        _ = await LineAsync(first, "step 200 "); // the checkpoint of step 100 is complete
        first.Kill();
        await first.WaitForExitAsync(TestContext.Current.CancellationToken);
        int saved = int.Parse(folder.Read("checkpoints", "latest")["global_step".Length..], CultureInfo.InvariantCulture);

        using Process second = Run(folder, $"{saved + 200}");
        string text = await second.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await second.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.Equal(0, second.ExitCode);
        Assert.StartsWith($"from step {saved} on cpu (", text, StringComparison.Ordinal);
        Assert.InRange(LastLoss(text, $"step {saved + 200} "), 0, 0.7 * firstLoss);
    }

    [Fact]
    public async Task Sample_RankKilledUnderTheLauncher_ResumesAndLearns()
    {
        using JobFolder job = new JobFolder().WithJob($"""
            echo "rank $RANK is process $$$$"
            exec '{PublishedSample.Program}' 600
            """, "numNodes: 2\ncheckpoint: { claimName: disk }");
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("step 200 loss ");
        int victim = int.Parse(launcher.After("rank 1 is process "), CultureInfo.InvariantCulture);

        Assert.Equal(0, Libc.Send(victim, Kill));

        Assert.Equal(0, await launcher.ExitAsync());
        Assert.Contains("rank 1 (node 1) failed with exit code 137", launcher.Text, StringComparison.Ordinal);
        string resumed = launcher.Text.Split('\n').Last(line => line.Contains("from step ", StringComparison.Ordinal));
        Assert.DoesNotContain("from step 0 ", resumed, StringComparison.Ordinal);
        Assert.InRange(LastLoss(launcher.Text, "step 600 "), 0, 0.7 * LastLoss(launcher.Text, "step 100 "));
    }

    [Fact]
    public async Task Sample_WrongConfiguration_IsNotStartedAgain()
    {
        using JobFolder job = new JobFolder().WithJob($"exec '{PublishedSample.Program}'", """
            numNodes: 2
            env: [{ name: DEEPSPEED_TIMEOUT, value: soon }]
            """);

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(78, exitCode);
        Assert.Contains("DEEPSPEED_TIMEOUT: \"soon\" is not a number of minutes", text, StringComparison.Ordinal);
        Assert.DoesNotContain("restart 1", text, StringComparison.Ordinal);
    }

    private static Process Run(JobFolder folder, string steps) =>
        PublishedSample.Start(PublishedSample.Program, [steps], folder.Path, ("DSJ_CHECKPOINT_DIR", null), ("RANK", null));

    private static async Task<string> LineAsync(Process process, string beginning)
    {
        while (await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
        {
            if (line.StartsWith(beginning, StringComparison.Ordinal))
            {
                return line;
            }
        }

        Assert.Fail($"no line began with \"{beginning}\"; errors: {await process.StandardError.ReadToEndAsync()}");
        return "";
    }

    private static double LastLoss(string text, string step) =>
        LossOf(text.Split('\n').Last(line => line.Contains(step + "loss ", StringComparison.Ordinal)));

    private static double LossOf(string line) => double.Parse(line.Split("loss ")[1], CultureInfo.InvariantCulture);
}
