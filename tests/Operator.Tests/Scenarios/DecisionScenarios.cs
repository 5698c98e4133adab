using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Tests.Planning;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Tests.Scenarios;

/// <summary>What other operators' tests tell of single decisions; see <see cref="ScenarioTable"/>.</summary>
public sealed class DecisionScenarios
{
    [Fact]
    [Trait("Scenario", "12")]
    public void Subdomain_OfTheTemplate_IsRefused()
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Template = Json("""{"spec":{"subdomain":"mine","hostname":"me"}}""") };

        Assert.Equal(["spec.template.spec.subdomain", "spec.template.spec.hostname"], ClusterRules.Check("a", spec).Select(e => e.Path));
    }

    [Fact]
    [Trait("Scenario", "13")]
    public void HostNetwork_OfAJob_KeepsTheClustersNames()
    {
        V1Pod pod = Build(Some.Spec() with { Network = new NetworkSpec { HostNetwork = true } });

        Assert.Equal((true, "ClusterFirstWithHostNet", "a-1-0", "a"),
            (pod.Spec.HostNetwork, pod.Spec.DnsPolicy, pod.Spec.Hostname, pod.Spec.Subdomain));
    }

    [Fact]
    [Trait("Scenario", "14")]
    public void Image_ThatNeedsRoot_MaySaySo()
    {
        V1Pod plain = Build(Some.Spec());
        V1Pod root = Build(Some.Spec() with { Template = Json("""{"spec":{"securityContext":{"runAsNonRoot":false,"runAsUser":0}}}""") });

        Assert.Equal((true, 1000L), (plain.Spec.SecurityContext.RunAsNonRoot, plain.Spec.SecurityContext.RunAsUser));
        Assert.Equal((false, 0L), (root.Spec.SecurityContext.RunAsNonRoot, root.Spec.SecurityContext.RunAsUser));
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(0, -30, false)] // the clock of this replica is behind that of the one that wrote the end
    [InlineData(60, 59, false)]
    [InlineData(60, 60, true)]
    [Trait("Scenario", "34")]
    public void Ttl_OfAFinishedJob_CountsFromItsEnd(int ttl, int secondsLater, bool isDeleted)
    {
        JobSnapshot job = Some.RunningJob(Some.Spec(1) with { TtlSecondsAfterFinished = ttl }).With(Some.SucceededPod(0));
        job = job.After(JobDecision.For(job), secondsLater);

        JobDecision decision = JobDecision.For(job);

        Assert.Equal(isDeleted, decision.DeleteJob);
        Assert.Equal(isDeleted ? null : TimeSpan.FromSeconds(ttl - secondsLater), decision.RequeueAfter);
    }

    // Pods of six nodes by a letter each: r ready, s starting, p without a machine, d done, f failed, - not there.
    [Theory]
    [InlineData("rrrrrr", 6, 6, 6, 0, 0, "6/6")]
    [InlineData("rrsspp", 6, 4, 2, 0, 0, "2/6")]
    [InlineData("ddrrrr", 6, 6, 4, 2, 0, "6/6")]
    [InlineData("dfrs--", 4, 4, 1, 1, 1, "2/6")]
    [InlineData("------", 0, 0, 0, 0, 0, "0/6")]
    [InlineData("dddddd", 6, 6, 0, 6, 0, "6/6")]
    [Trait("Scenario", "56")]
    public void Counts_OfAnyMixOfPods_AddUp(string pods, int created, int scheduled, int ready, int succeeded, int failed, string text)
    {
        JobSnapshot job = Some.NewJob(Some.Spec(6));
        job = job.After(JobDecision.For(job)) with { Pods = [.. pods.Select(Pod).OfType<PodSnapshot>()] };

        DeepSpeedJobStatus status = JobObservation.Count(job);

        Assert.Equal(new NodeCounts { Desired = 6, Created = created, Scheduled = scheduled, Ready = ready, Succeeded = succeeded, Failed = failed }, status.Nodes);
        Assert.Equal((text, pods.Count(p => p != '-')), (status.NodesText, status.Replicas));
    }

    [Fact]
    [Trait("Scenario", "57")]
    public void Progress_OfAnotherAttemptOrJob_IsNotTakenOver()
    {
        var board = new Operator.Progress.ProgressBoard();
        board.Note("ns/a", "uid-1", 1, new(1, 7, 100, null, null, null, null, null), Some.Now);

        Assert.Equal(7, board.Latest("ns/a", "uid-1", 1)!.Report!.Step);
        Assert.Null(board.Latest("ns/a", "uid-1", 2));
        Assert.Null(board.Latest("ns/a", "uid-2", 1));
        Assert.Null(board.Latest("ns/b", "uid-1", 1));
    }

    private static PodSnapshot? Pod(char letter, int index) => letter switch
    {
        'r' => Some.RunningPod(index),
        's' => Some.RunningPod(index) with { IsReady = false },
        'p' => Some.Pod(index),
        'd' => Some.SucceededPod(index),
        'f' => Some.FailedPod(index, 1),
        _ => null,
    };

    private static V1Pod Build(DeepSpeedJobSpec spec)
    {
        var owner = new JobOwner("a", "default", "uid");
        JobPlan plan = JobPlan.From(spec, new JobIdentity("a", "default", "uid", 1, 0), WorkerPods.Placement(owner, spec, 1));
        return WorkerPods.Build(owner, spec, 1, plan.Nodes[0]);
    }

    private static System.Text.Json.Nodes.JsonObject Json(string text) => System.Text.Json.Nodes.JsonNode.Parse(text)!.AsObject();
}
