using System.Text.Json;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Resources.Gang;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator;

/// <summary>What is known of the cluster.</summary>
/// <param name="Jobs">All jobs.</param>
/// <param name="Pods">Their pods, in groups by owner.</param>
/// <param name="Services">Their Services, in groups by owner.</param>
/// <param name="Nodes">The machines; empty where they may not be watched.</param>
/// <param name="Groups">PodGroups of Volcano, while there are jobs that use it.</param>
/// <param name="Progress">The latest reports of rank 0.</param>
/// <param name="Defaults">What jobs get that do not say it themselves.</param>
internal sealed record JobCaches(
    ObjectCache<DeepSpeedJob> Jobs, ObjectCache<PodSnapshot> Pods, ObjectCache<ServiceSnapshot> Services,
    ObjectCache<NodeSnapshot> Nodes, ObjectCache<GroupSnapshot> Groups, ProgressBoard Progress, ClusterDefaults Defaults)
{
    /// <summary>Empty caches.</summary>
    /// <param name="defaults">What jobs get that do not say it themselves.</param>
    public static JobCaches Create(ClusterDefaults defaults) => new(new(_ => null), new(p => p.OwnerUid), new(s => s.OwnerUid),
        new(n => n.NotReadySince is null ? null : "not-ready"), new(_ => null), new ProgressBoard(), defaults);

    /// <summary>Reads a job, of which parts that did not change are shared with what is known.</summary>
    /// <param name="job">The object as the API server sends it.</param>
    public DeepSpeedJob ReadJob(JsonElement job)
    {
        JsonElement metadata = job.Get("metadata");
        string? queue = metadata.Get("labels").Text(KueueGroup.QueueLabel);
        DeepSpeedJob? known = Jobs.Get($"{metadata.Text("namespace")}/{metadata.Text("name")}");
        string? before = null;
        known?.Metadata.Labels?.TryGetValue(KueueGroup.QueueLabel, out before);
        return DeepSpeedJob.Read(job, before == queue ? known : null, spec => Defaults.Over(spec, queue));
    }

    /// <summary>Goes on measuring how long a pod takes to end.</summary>
    /// <param name="pod">The pod as it was read.</param>
    /// <param name="isNews">Whether what is not known yet happened while this process looked.</param>
    /// <param name="time">Clock.</param>
    public PodSnapshot Follow(PodSnapshot pod, bool isNews, TimeProvider time) =>
        pod.DeletedAt is null ? pod : pod.Following(Pods.Get(pod.Key), isNews, time);

    /// <summary>Reads a machine, and goes on measuring its silence.</summary>
    /// <param name="node">The object as the API server sends it.</param>
    /// <param name="time">Clock.</param>
    public NodeSnapshot ReadNode(JsonElement node, TimeProvider time)
    {
        var read = NodeSnapshot.Read(node);
        return read.Following(Nodes.Get($"/{read.Name}"), time);
    }

    /// <summary>Machines that do not answer, and for how long.</summary>
    /// <param name="time">Clock.</param>
    public IReadOnlyDictionary<string, Silence> NotReady(TimeProvider time) =>
        Nodes.Group("not-ready").ToDictionary(n => n.Name, n => n.SilenceNow(time)!.Value);
}

/// <summary>Clock, metrics and log.</summary>
internal sealed record JobWatch(TimeProvider Time, OperatorMetrics Metrics, ILogger Log);
