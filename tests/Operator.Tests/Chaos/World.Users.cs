using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <content>What users and other controllers do in it.</content>
internal sealed partial class World
{
    // A pod with all labels of a job, which is somebody else's: it has no owner, or one of another kind.
    private void CreateStray()
    {
        if (_api.Store.Find("deepspeedjobs", _dice.Of(ChaosJobs.Lively)) is { } job)
        {
            string name = (string)job["metadata"]!["name"]!;
            _api.Store.Create(new ResourcePath("pods", "default", null, null), new JsonObject
            {
                ["metadata"] = new JsonObject
                {
                    ["name"] = $"stray-{Event}",
                    ["labels"] = new JsonObject
                    {
                        ["deepspeedsharp.dev/job"] = "true",
                        ["deepspeedsharp.dev/job-name"] = name,
                        ["deepspeedsharp.dev/job-uid"] = (string?)job["metadata"]!["uid"],
                        ["deepspeedsharp.dev/attempt"] = "1",
                        ["deepspeedsharp.dev/node-rank"] = "0",
                    },
                    ["ownerReferences"] = _dice.Chance(0.5) ? new JsonArray() : new JsonArray(new JsonObject
                    {
                        ["apiVersion"] = "batch/v1",
                        ["kind"] = "Job",
                        ["name"] = name,
                        ["uid"] = (string?)job["metadata"]!["uid"],
                        ["controller"] = true,
                    }),
                },
                ["spec"] = new JsonObject(),
                ["status"] = new JsonObject { ["phase"] = "Running" },
            });
        }
    }

    private void CreateMissingJobs()
    {
        foreach ((string name, string spec) in ChaosJobs.All)
        {
            if (_api.Store.Find("deepspeedjobs", name) is null && !_api.Store.Terminating.Contains("default"))
            {
                var body = JsonNode.Parse(spec)!.AsObject();
                if (_dice.Chance(0.1) && name != "malformed")
                {
                    body["suspend"] = true;
                }

                _api.Store.Create(new ResourcePath("deepspeedjobs", "default", null, null), new JsonObject
                {
                    ["apiVersion"] = "deepspeedsharp.dev/v1alpha1",
                    ["kind"] = "DeepSpeedJob",
                    ["metadata"] = new JsonObject { ["name"] = name },
                    ["spec"] = body,
                });
            }
        }
    }

    private void Suspend() => Edit(_dice.Of(ChaosJobs.Lively), _dice.Chance(0.35) ? """{"suspend":true}""" : """{"suspend":false}""");

    private void EditJob()
    {
        string job = _dice.Of([.. ChaosJobs.Lively, "foreign"]);
        Edit(job, ChaosJobs.Edit(job, ++_edits, _dice.Next));
    }

    private void Edit(string job, string spec) => _api.Store.Patch(
        new ResourcePath("deepspeedjobs", "default", job, null), new JsonObject { ["spec"] = JsonNode.Parse(spec) });

    private void DeleteJob() => _api.Kill("deepspeedjobs", _dice.Of(ChaosJobs.All).Name);

    private void DeleteChild()
    {
        string plural = _dice.Of(Children);
        if (_api.Store.All(plural) is { Count: > 0 } all)
        {
            string name = (string)_dice.Of(all)["metadata"]!["name"]!;
            _history.DeletedByHand.Add($"{plural}/{name}");
            _api.Kill(plural, name);
        }
    }

    // As `kubectl delete namespace` does: nothing new is taken, and everything goes, in no order.
    private void DeleteNamespace()
    {
        _api.Store.Terminating.Add("default");
        _terminatingUntil = Event + 30;
        foreach (string plural in _dice.Shuffle([.. Children, "pods", "deepspeedjobs", "events"]))
        {
            foreach (JsonObject item in _api.Store.All(plural))
            {
                Try(() => _api.Store.Delete(new ResourcePath(plural, "default", (string)item["metadata"]!["name"]!, null), null, atOnce: _dice.Chance(0.5)));
            }
        }
    }
}
