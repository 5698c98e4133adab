using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <content>What happens in it.</content>
internal sealed partial class World
{
    private static readonly string[] Children = ["services", "configmaps", "poddisruptionbudgets"];
    private int _edits;
    private int _terminatingUntil;
    private bool _stopOrContinue;

    private void CalmEvent()
    {
        switch (_dice.Next(100))
        {
            case < 74:
                _kubelet.Serve(canFail: true);
                break;
            case < 79:
                _kubelet.Cascade(_dice.Of(ChaosJobs.Lively));
                break;
            case < 81:
                _kubelet.Flip();
                break;
            case < 84:
                Suspend();
                break;
            case < 89:
                EditJob();
                break;
            case < 91:
                _kubelet.Lose();
                break;
            case < 92:
                _kubelet.Evict();
                break;
            case < 93:
                DeleteChild();
                break;
            case < 94:
                _kubelet.IsCrowded = !_kubelet.IsCrowded;
                break;
            case < 95:
                DeleteJob();
                break;
            case < 96:
                CreateStray();
                break;
            default:
                CollectGarbage(all: false);
                break;
        }
    }

    private void StormEvent()
    {
        if (Event >= _terminatingUntil)
        {
            _api.Store.Terminating.Clear();
        }

        switch (_dice.Next(1000))
        {
            case < 700:
                _kubelet.Serve(canFail: true);
                _kubelet.Serve(canFail: true);
                break;
            case < 715:
                _kubelet.Touch();
                break;
            case < 740:
                _kubelet.Cascade(_dice.Of(ChaosJobs.Lively));
                break;
            case < 760:
                _kubelet.Flip();
                break;
            case < 785:
                Suspend();
                break;
            case < 830:
                EditJob();
                break;
            case < 845:
                _kubelet.Lose();
                break;
            case < 855:
                _kubelet.Evict();
                break;
            case < 865:
                DeleteChild();
                break;
            case < 873:
                DeleteJob();
                break;
            case < 890:
                CollectGarbage(all: false);
                break;
            case < 900:
                _dice.Of(Replicas.Processes).Kill();
                break;
            case < 904:
                _dice.Of(Replicas.Processes).Terminate();
                break;
            case < 920:
                _stopOrContinue = true;
                break;
            case < 935:
                _api.Store.Compact();
                break;
            case < 950:
                _api.CutConnections();
                break;
            case < 955:
                _api.Down();
                break;
            case < 975:
                _api.Up();
                break;
            case < 985:
                // Another time of day; what measures durations does not change.
                JumpClock(TimeSpan.FromSeconds(_dice.Of([0, 0, 5, -5, 3600, -3600])));
                break;
            case < 987:
                Replicas.Advance(TimeSpan.FromMinutes(_dice.Of([1, 10])));
                break;
            case < 989:
                DeleteNamespace();
                break;
            default:
                break;
        }
    }

    // A process that has not seen machines and pods yet can only believe its clock.
    private void JumpClock(TimeSpan error)
    {
        OperatorProcess process = _dice.Of(Replicas.Processes);
        if (process is { KnowsMachines: true, Waits: null })
        {
            ((ProcessClock)process.Clock).Error = error;
            Diary.Note($"the clock of {process.Name} is wrong by {error}");
        }
    }

    private async Task StopOrContinueAsync()
    {
        // The worst moment is right before a write, and the best time to go on is when somebody else leads.
        if (Replicas.Processes.FirstOrDefault(p => ((ProcessClock)p.Clock).IsStopped) is { } stopped)
        {
            if (Replicas.Acting.Any(p => p != stopped) || _dice.Chance(0.2))
            {
                await stopped.ContinueAsync();
            }
        }
        else if (Replicas.Acting.ToArray() is { Length: > 0 } acting)
        {
            _dice.Of(acting).StopAtNextWrite();
        }
    }

    // Kubernetes' garbage collector, which may come late.
    private void CollectGarbage(bool all)
    {
        HashSet<string?> alive = [.. _api.Store.All("deepspeedjobs").Select(j => (string?)j["metadata"]!["uid"])];
        foreach (string plural in Children.Append("pods"))
        {
            foreach (JsonObject item in _api.Store.All(plural).Where(o => SeenPod.OwnerOf(o["metadata"]!) is { } owner && !alive.Contains((string?)owner["uid"])))
            {
                if (all || _dice.Chance(0.7))
                {
                    Try(() => _api.Kill(plural, (string)item["metadata"]!["name"]!));
                }
            }
        }
    }
}
