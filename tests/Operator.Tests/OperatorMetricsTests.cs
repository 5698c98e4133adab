using System.Text;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>What the operator serves to Prometheus while jobs run, fail and go.</summary>
public sealed class OperatorMetricsTests
{
    [Fact]
    public async Task Metrics_AfterARestart_CountIt()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """{"image":"worker:1","restart":{"maxRestarts":0}}""");
        await cluster.Until(() => cluster.PodExists("a-1-0"), "the pod exists");
        cluster.Api.End("a-1-0", 1, cluster.Time.GetUtcNow(), "boom");
        await cluster.UntilPhase("a", "Failed");

        string metrics = await cluster.ScrapeAsync();

        Assert.Contains("""deepspeedjob_jobs{namespace="default",phase="Failed"} 1""", metrics);
        Assert.Contains("""deepspeedjob_jobs{namespace="default",phase="Running"} 0""", metrics);
        Assert.Contains("""deepspeedjob_finished_total{namespace="default",result="failed",reason="MaxRestartsExceeded"} 1""", metrics);
        Assert.Contains("""deepspeedjob_run_duration_seconds_count{namespace="default",result="failed"} 1""", metrics);
        Assert.Contains("deepspeedjob_pods_created_total 1", metrics);
        Assert.Contains("""controller_runtime_reconcile_total{controller="deepspeedjob",result="success"}""", metrics);
        string[] names =
        [
            "controller_runtime_reconcile_errors_total", "controller_runtime_terminal_reconcile_errors_total",
            "controller_runtime_reconcile_panics_total", "controller_runtime_reconcile_timeouts_total",
            "controller_runtime_reconcile_time_seconds_bucket", "controller_runtime_max_concurrent_reconciles",
            "controller_runtime_active_workers", "workqueue_depth", "workqueue_adds_total", "workqueue_queue_duration_seconds_bucket",
            "workqueue_work_duration_seconds_bucket", "workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds",
            "workqueue_retries_total",
        ];
        Assert.All(names, name => Assert.Contains($"\n{name}{{", metrics));
        Assert.DoesNotContain("workqueue_adds_total{name=\"deepspeedjob\",controller=\"deepspeedjob\"} 0\n", metrics);
        Assert.DoesNotContain("system_runtime", metrics);
    }

    [Fact]
    public async Task Metrics_OfAJob_GoWithIt()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        await cluster.UntilQuiet(); // the server may know a phase a moment before the metrics do

        string running = await cluster.ScrapeAsync();
        cluster.Api.Kill("deepspeedjobs", "a");
        await cluster.Until(() => !cluster.ScrapeAsync().Result.Contains("name=\"a\"", StringComparison.Ordinal), "its series are gone");

        Assert.Contains("""deepspeedjob_status_phase{namespace="default",name="a",phase="Running"} 1""", running);
        Assert.Contains("""deepspeedjob_status_phase{namespace="default",name="a",phase="Failed"} 0""", running);
        Assert.Contains("""deepspeedjob_nodes{namespace="default",name="a",state="ready"} 2""", running);
        Assert.Contains("""deepspeedjob_restarts{namespace="default",name="a"} 0""", running);
        Assert.Contains("""deepspeedjob_time_to_running_seconds_count{namespace="default"} 1""", running);
        Assert.DoesNotContain("deepspeedjob_last_checkpoint_timestamp_seconds{", running);
    }

    [Fact]
    public async Task StatusWritten_AllNodesRunAgain_TimesTheRestart()
    {
        DateTimeOffset failed = DateTimeOffset.UnixEpoch;
        var metrics = new OperatorMetrics();
        DeepSpeedJobStatus before = new DeepSpeedJobStatus { Attempt = 2 }.With(failed, ConditionTypes.Restarting, true, Reasons.NodeFailed);
        DeepSpeedJobStatus waiting = before with { Phase = Phases.Starting };
        DeepSpeedJobStatus after = waiting.With(failed.AddSeconds(45), ConditionTypes.Restarting, false, Reasons.AllNodesReady)
            .With(failed.AddSeconds(45), ConditionTypes.Running, true, Reasons.AllNodesReady);

        metrics.StatusWritten(Job(before), waiting, failed.AddSeconds(30));
        metrics.StatusWritten(Job(waiting), after, failed.AddSeconds(45));
        metrics.StatusWritten(Job(after), after with { Message = "on" }, failed.AddSeconds(60));

        using var stream = new MemoryStream();
        await metrics.Registry.CollectAndExportAsTextAsync(stream, TestContext.Current.CancellationToken);
        Assert.Contains("""deepspeedjob_restart_duration_seconds_sum{namespace="default"} 45""", Encoding.UTF8.GetString(stream.ToArray()));

        static DeepSpeedJob Job(DeepSpeedJobStatus status) => new() { Metadata = new V1ObjectMeta { Name = "a", NamespaceProperty = "default" }, Status = status };
    }
}
