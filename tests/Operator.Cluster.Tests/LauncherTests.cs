using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

[Trait("Category", "Slow")]
public sealed class LauncherTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Job_SubmittedLeftFollowedStoppedAndSubmittedAgain_EndsWell()
    {
        NeedsThisMachine("killing a process in a pod");
        Kubectl kubectl = Story("11-submit");
        await using var job = new Job(kubectl, "walker");
        await using (LauncherRun submit = LauncherRun.Start(kubectl, "submit", Job.Manifest("walker.yaml")))
        {
            await submit.PrintsAsync("[node 0] saved /checkpoints/walker/global_step50", 120);
            Assert.Contains("deepspeed: job walker is submitted to namespace default", submit.Text, StringComparison.Ordinal);
            await submit.SendAsync("INT");

            Assert.Equal(130, await submit.ExitAsync(30));
            Assert.Contains("Ctrl-C: job walker goes on without this command", submit.Text, StringComparison.Ordinal);
        }

        (int code, string listed) = await LauncherRun.RunAsync(kubectl, "jobs");
        Assert.Equal(0, code);
        Assert.Matches(@"walker +Running +2/2", listed);

        await using (LauncherRun logs = LauncherRun.Start(kubectl, "logs", "walker", "-f", "--tail", "2"))
        {
            await logs.PrintsAsync("[node 0] ", 30);
            await PodProcesses.SendAsync("KILL", await PodProcesses.WorkerAsync(job, "walker-1-1"));
            await logs.PrintsAsync("Node 1 (pod walker-1-1 on ", 60);
            Assert.Contains("was killed (exit code 137, SIGKILL)", logs.Text, StringComparison.Ordinal);
            await logs.PrintsAsync("[node 0] resuming after step", 90);
            await logs.PrintsAsync("(attempt 2)", 30);

            (code, string stopped) = await LauncherRun.RunAsync(kubectl, "stop", "walker");
            Assert.Equal(0, code);
            Assert.Contains("job walker stops", stopped, StringComparison.Ordinal);
            Assert.Equal(1, await logs.ExitAsync(90));
            Assert.Contains("job walker was stopped", logs.Text, StringComparison.Ordinal);
        }

        await using LauncherRun again = LauncherRun.Start(kubectl, "submit", Job.Manifest("walker.yaml"));
        Assert.Equal(0, await again.ExitAsync(300));
        Assert.Matches(@"\[node 0\] resuming after step [1-9]\d+ from /checkpoints/walker/", again.Text);
        Assert.Contains("deepspeed: job walker is complete: step 800 of 800", again.Text, StringComparison.Ordinal);
        string[] steps = [.. Regex.Matches(again.Text, @"\[node 0\] (step \d+/800)").Select(match => match.Groups[1].Value)];
        Assert.NotEmpty(steps);
        Assert.Equal(steps.Distinct(), steps);

        (code, string described) = await LauncherRun.RunAsync(kubectl, "describe", "walker");
        Assert.Equal(0, code);
        Assert.Contains("attempt 1 (NodeFailed): node 1 (pod walker-1-1 on ", described, StringComparison.Ordinal);
        (code, _) = await LauncherRun.RunAsync(kubectl, "stop", "walker", "--delete");
        Assert.Equal(0, code);
        await job.WaitAsync("the job is gone", async () => (await kubectl.RunAsync("get", "dsj", "walker")).ExitCode != 0, 60);
    }

    [Fact]
    public async Task Job_ThatFails_EndsSubmitWithItsExitCodeAndIsDescribed()
    {
        Kubectl kubectl = Story("12-submit-failure");
        await using var job = new Job(kubectl, "doomed");
        await using (LauncherRun submit = LauncherRun.Start(kubectl, "submit", Job.Manifest("doomed.yaml")))
        {
            Assert.Equal(3, await submit.ExitAsync(120));
            Assert.Contains("[node 1] CUDA error: an illegal memory access was encountered", submit.Text, StringComparison.Ordinal);
            Assert.DoesNotContain("[node 0]", submit.Text, StringComparison.Ordinal);
            Assert.Contains("deepspeed: job doomed failed: Node 1 (pod doomed-1-1 on ", submit.Text, StringComparison.Ordinal);
        }

        await kubectl.ShowAsync("describe", "dsj", "doomed");
        (int code, string described) = await LauncherRun.RunAsync(kubectl, "describe", "doomed");

        // Who failed first, why, and what to do.
        Assert.Equal(0, code);
        Assert.Contains("Node 1 (pod doomed-1-1 on ", described, StringComparison.Ordinal);
        Assert.Contains("failed with exit code 3: CUDA error: an illegal memory access was encountered", described, StringComparison.Ordinal);
        Assert.Contains("`kubectl logs doomed-1-1 -n default`", described, StringComparison.Ordinal);
    }
}
