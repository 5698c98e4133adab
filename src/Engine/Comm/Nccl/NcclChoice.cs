using System.Text;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Store;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>Whether CUDA tensors of a run should go through NCCL.</summary>
internal enum NcclWish
{
    /// <summary>They are copied through host memory.</summary>
    No,

    /// <summary>Where every rank has a GPU of its own, and NCCL.</summary>
    WherePossible,

    /// <summary>It is an error if some rank cannot.</summary>
    Yes,
}

/// <summary>Makes all ranks of a run decide alike: one without GPU would be waited for in vain by the others.</summary>
internal static class NcclChoice
{
    /// <summary>Decides together with the other ranks.</summary>
    /// <param name="store">Through which they talk.</param>
    /// <param name="place">This rank.</param>
    /// <param name="wish">What this rank was asked for.</param>
    /// <param name="timeout">How long to wait for the others.</param>
    /// <returns>Whether NCCL is used, and if it is not although this rank could, why.</returns>
    /// <exception cref="NativeBackendException">It was asked for, and some rank cannot.</exception>
    public static (bool Uses, string? Reason) Agree(TcpStore store, WorkerEnvironment place, NcclWish wish, TimeSpan timeout)
    {
        string? mine = Obstacle(place, wish);
        store.Set(Key(place.Rank!.Value), Encoding.UTF8.GetBytes(mine ?? ""));
        string? obstacle = null;
        for (int rank = 0; rank < place.WorldSize && obstacle is null; rank++)
        {
            string answer = Encoding.UTF8.GetString(store.Get(Key(rank), timeout));
            obstacle = answer.Length == 0 ? null : $"rank {rank}: {answer}";
        }

        if (wish == NcclWish.Yes && obstacle is not null)
        {
            throw new NativeBackendException($"NCCL was asked for, but {obstacle}; give every rank a GPU of its own, or use the backend "
                + "\"host\". See docs/communication.md#nccl");
        }

        return (obstacle is null, mine is null ? obstacle : null);

        static string Key(int rank) => $"nccl/able/{rank}";
    }

    // Why this rank cannot use NCCL; null when it can.
    private static string? Obstacle(WorkerEnvironment place, NcclWish wish)
    {
        if (wish == NcclWish.No)
        {
            return "it was asked to use the host's memory";
        }

        if (!torch.cuda.is_available())
        {
            return "it sees no GPU";
        }

        try
        {
            NcclEnvironment.ApplyPlatform();
            _ = NcclLibrary.Loaded;
        }
        catch (NativeBackendException e)
        {
            return e.Message;
        }

        int gpus = torch.cuda.device_count();
        return DeepSpeed.LocalDevice(place).type == DeviceType.CUDA ? null
            : $"it is local rank {place.LocalRank}, and its process sees {gpus} {(gpus == 1 ? "GPU" : "GPUs")}";
    }
}
