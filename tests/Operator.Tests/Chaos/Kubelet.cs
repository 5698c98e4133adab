using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What scheduler, kubelets, machines and bad luck do to the pods of a random run.</summary>
/// <param name="api">The cluster.</param>
/// <param name="history">What really happened.</param>
/// <param name="dice">Chance.</param>
/// <param name="time">The time.</param>
internal sealed class Kubelet(FakeApi api, History history, Dice dice, TimeProvider time)
{
    private static readonly int[] ExitCodes = [1, 1, 1, 69, 69, 137, 143, 64, 3, 4];
    private static readonly string[] Machines = ["node-1", "node-2", "node-3", "node-4", "node-5"];
    private readonly Queue<(string Pod, int ExitCode)> _doomed = [];

    /// <summary>Whether there is no room for more than two pods of a job.</summary>
    public bool IsCrowded { get; set; }

    /// <summary>Creates the machines, or heals them.</summary>
    public void Heal()
    {
        IsCrowded = false;
        foreach (string machine in Machines)
        {
            api.Machine(machine, isReady: true, time.GetUtcNow());
        }
    }

    /// <summary>A machine falls silent, or answers again.</summary>
    public void Flip()
    {
        string machine = dice.Of(Machines);
        bool isSilent = history.Now.Outages.GetValueOrDefault(machine) is { Until: null };
        if (isSilent || dice.Chance(0.5))
        {
            api.Machine(machine, isReady: isSilent, time.GetUtcNow());
        }
    }

    /// <summary>One pod takes a step of its life.</summary>
    /// <param name="canFail">Whether it may be a wrong one.</param>
    public void Serve(bool canFail)
    {
        if (_doomed.TryDequeue(out (string Pod, int ExitCode) next))
        {
            if (history.Now.Pods.Values.FirstOrDefault(p => p.Name == next.Pod && p is { Phase: "Running", DeletedAt: null }) is { } doomed && IsReachable(doomed))
            {
                api.End(next.Pod, next.ExitCode, time.GetUtcNow());
            }

            return;
        }

        SeenPod[] pods = [.. history.Now.Pods.Values.Where(p => !p.HasEnded).OrderBy(p => p.Uid, StringComparer.Ordinal)];
        if (pods.Length > 0)
        {
            Serve(dice.Of(pods), canFail);
        }
    }

    /// <summary>All pods that can take a step of their lives do.</summary>
    public void ServeAll()
    {
        foreach (SeenPod pod in history.Now.Pods.Values.Where(p => !p.HasEnded))
        {
            Serve(pod, canFail: false);
        }
    }

    /// <summary>One rank of a job fails, and within seconds the others fail for that.</summary>
    public void Cascade(string job)
    {
        SeenPod[] running = [.. history.Now.Pods.Values.Where(p => p.JobName == job && p is { Phase: "Running", DeletedAt: null })];
        foreach (SeenPod pod in dice.Shuffle(running))
        {
            _doomed.Enqueue((pod.Name, _doomed.Count == 0 ? dice.Chance(0.3) ? 69 : dice.Of(ExitCodes) : dice.Of([69, 69, 1, 1, 143])));
        }
    }

    /// <summary>The cluster ends a pod: by its object, or by the kubelet.</summary>
    public void Evict()
    {
        SeenPod[] running = [.. history.Now.Pods.Values.Where(p => p is { Phase: "Running", DeletedAt: null })];
        if (running.Length == 0)
        {
            return;
        }

        SeenPod pod = dice.Of(running);
        if (dice.Chance(0.5))
        {
            api.End(pod.Name, 137, time.GetUtcNow(), asEvicted: true);
            return;
        }

        api.Store.Change("pods", pod.Name, p => p["status"]!["conditions"]!.AsArray()
            .Add(new JsonObject { ["type"] = "DisruptionTarget", ["status"] = "True", ["reason"] = "EvictionByEvictionAPI" }));
        api.Store.Delete(new ResourcePath("pods", "default", pod.Name, null), null, atOnce: false);
    }

    /// <summary>A pod is deleted by hand, or is gone without a trace.</summary>
    public void Lose()
    {
        SeenPod[] pods = [.. history.Now.Pods.Values];
        if (pods.Length > 0)
        {
            api.Store.Delete(new ResourcePath("pods", "default", dice.Of(pods).Name, null), null, atOnce: dice.Chance(0.5));
        }
    }

    /// <summary>An event that says nothing.</summary>
    public void Touch()
    {
        SeenPod[] pods = [.. history.Now.Pods.Values];
        if (pods.Length > 0)
        {
            api.Store.Change("pods", dice.Of(pods).Name, p => { });
        }
    }

    private void Serve(SeenPod pod, bool canFail)
    {
        if (!IsReachable(pod))
        {
            return; // nobody there can end it either
        }

        if (pod.DeletedAt is not null)
        {
            EndDeleted(pod);
        }
        else if (pod.Phase == "Pending" && (pod.Machine is null || dice.Chance(0.5)))
        {
            string[] ready = [.. Machines.Where(m => history.Now.Outages.GetValueOrDefault(m) is not { Until: null })];
            if (ready.Length == 0 || (IsCrowded && pod.Rank >= 2) || (canFail && !pod.HasNoPlace && dice.Chance(0.1)))
            {
                if (!pod.HasNoPlace)
                {
                    api.Unschedulable(pod.Name, "0/5 nodes are available");
                }
            }
            else
            {
                api.Run(pod.Name, machine: dice.Of(ready));
            }
        }
        else if (pod.Phase == "Running" && (!canFail || dice.Chance(0.08)))
        {
            bool fails = canFail && (pod.JobName == ChaosJobs.Hopeless || dice.Chance(0.35));
            api.End(pod.Name, fails ? dice.Of(ExitCodes) : 0, time.GetUtcNow());
        }
    }

    // It saves a checkpoint, and then mostly leaves no trace but its absence.
    private void EndDeleted(SeenPod pod)
    {
        if (dice.Chance(0.2))
        {
            api.End(pod.Name, 143, time.GetUtcNow());
        }

        api.Kill("pods", pod.Name);
    }

    private bool IsReachable(SeenPod pod) => pod.Machine is null || history.Now.Outages.GetValueOrDefault(pod.Machine) is not { Until: null };
}

/// <summary>Chance, from one seed; requests come from other threads than events.</summary>
internal sealed class Dice(int seed)
{
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);

    public int Next(int limit)
    {
        lock (_lock)
        {
            return _random.Next(limit);
        }
    }

    public bool Chance(double share)
    {
        lock (_lock)
        {
            return _random.NextDouble() < share;
        }
    }

    public T Of<T>(IReadOnlyList<T> choices) => choices[Next(choices.Count)];

    public T[] Shuffle<T>(T[] items)
    {
        lock (_lock)
        {
            _random.Shuffle(items);
            return items;
        }
    }
}
