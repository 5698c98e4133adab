using System.Text.Json;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class PodSnapshotTests
{
    [Fact]
    public void Read_FailedPodBeingDeleted_KeepsWhatDecisionsNeed()
    {
        PodSnapshot pod = Read("""
            {"metadata":{"name":"a-2-1","namespace":"ml","uid":"u1","deletionTimestamp":"2026-01-01T00:02:00Z","deletionGracePeriodSeconds":120,
              "labels":{"deepspeedsharp.dev/attempt":"2","deepspeedsharp.dev/node-rank":"1"},
              "ownerReferences":[{"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","name":"a","uid":"j1","controller":true}]},
             "spec":{"nodeName":"n7"},
             "status":{"phase":"Failed","reason":"Evicted","message":"disk","podIP":"10.0.0.9",
              "conditions":[{"type":"DisruptionTarget","status":"True","reason":"EvictionByEvictionAPI"},{"type":"Ready","status":"False"}],
              "containerStatuses":[{"name":"sidecar","state":{"terminated":{"exitCode":1}}},
                {"name":"trainer","state":{"terminated":{"exitCode":143,"reason":"Error","message":"bye","finishedAt":"2026-01-01T00:00:30Z"}}}]}}
            """);

        Assert.Equal(("ml/a-2-1", "ml/a", "j1", 2, 1), (pod.Key, pod.OwnerKey, pod.OwnerUid, pod.Attempt, pod.Index));
        Assert.Equal(("Failed", "Evicted", "n7", 143, "bye"), (pod.Phase, pod.Reason, pod.ClusterNode, pod.ExitCode, pod.TerminationMessage));
        Assert.Equal("EvictionByEvictionAPI", pod.DisruptionReason);
        Assert.Equal(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero), pod.DeletedAt);
        Assert.Equal(new DateTimeOffset(2026, 1, 1, 0, 0, 30, TimeSpan.Zero), pod.FinishedAt);
    }

    [Theory]
    [InlineData("""{"metadata":{"name":"x"}}""")]
    [InlineData("""{"metadata":{"name":"x","labels":null,"ownerReferences":[{"kind":"ReplicaSet","controller":true,"uid":"r"}]},"status":{"conditions":"?","containerStatuses":[1]}}""")]
    public void Read_StrangePod_HasNoOwnerAndDoesNotThrow(string json)
    {
        PodSnapshot pod = Read(json);

        Assert.Null(pod.OwnerUid);
        Assert.Equal(("Pending", -1), (pod.Phase, pod.Attempt));
    }

    private static PodSnapshot Read(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        return PodSnapshot.Read(document.RootElement);
    }
}
