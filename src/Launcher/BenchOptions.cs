using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>What <c>deepspeed bench comm</c> is to measure.</summary>
/// <param name="Backends">Of shm, tcp and nccl.</param>
/// <param name="Ranks">Number of ranks on this machine; null for two, or with nccl one for each GPU.</param>
/// <param name="ShareGpus">Whether ranks may share a GPU.</param>
/// <param name="WorkerArguments">What each rank gets besides its backend.</param>
internal sealed record BenchOptions(IReadOnlyList<string> Backends, int? Ranks, bool ShareGpus, IReadOnlyList<string> WorkerArguments)
{
    /// <summary>One of <see cref="Backends"/>: GPUs.</summary>
    public const string Nccl = "nccl";

    /// <summary>Number of ranks for a backend.</summary>
    /// <param name="backend">One of <see cref="Backends"/>.</param>
    /// <param name="gpus">Number of GPUs of this machine.</param>
    /// <exception cref="ConfigException">There are too few GPUs.</exception>
    public int RanksFor(string backend, int gpus)
    {
        if (backend != Nccl)
        {
            return Ranks ?? 2;
        }

        int ranks = Ranks ?? (ShareGpus ? Math.Max(2, gpus) : gpus);
        if (gpus == 0)
        {
            throw Refusal.Option("--backend", "nccl needs GPUs, and there is none on this machine", "use shm or tcp");
        }

        return ranks < 2 ? throw Refusal.Option("--ranks", "one rank has nobody to talk to", "give --ranks 2 --share-gpus to put two on one GPU")
            : ranks > gpus && !ShareGpus ? throw Refusal.Option("--ranks", $"there are {gpus} GPUs for {ranks} ranks", "give fewer, or --share-gpus")
            : ranks;
    }

    /// <summary>The environment of a rank beside its place.</summary>
    /// <param name="backend">One of <see cref="Backends"/>.</param>
    /// <param name="rank">Which rank.</param>
    /// <param name="ranks">How many there are.</param>
    /// <param name="gpus">Number of GPUs of this machine.</param>
    /// <param name="cores">Number of processors.</param>
    public static IEnumerable<KeyValuePair<string, string>> Variables(string backend, int rank, int ranks, int gpus, int cores)
    {
        yield return new("OMP_NUM_THREADS", $"{Math.Max(1, cores / ranks)}");
        yield return new("OMP_WAIT_POLICY", "PASSIVE");
        yield return new("DEEPSPEED_COMM_BACKEND", backend == Nccl ? Nccl : "host");
        yield return new("DEEPSPEED_COMM_SHM", backend == "tcp" ? "0" : "1");
        if (backend != Nccl)
        {
            yield return new(LocalSlots.VisibleDevices, "");
        }
        else if (ranks > gpus)
        {
            // NCCL refuses two ranks of one host on one GPU; so each is a host of its own.
            yield return new(LocalSlots.VisibleDevices, $"{rank % gpus}");
            yield return new("NCCL_HOSTID", $"bench-{rank}");
            yield return new("NCCL_SOCKET_IFNAME", "lo");
        }
    }
}
