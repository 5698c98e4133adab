using System.Security.Cryptography;
using System.Text;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine;

/// <summary>Makes sure that all ranks train the same model, before anything is summed.</summary>
internal static class ReplicaCheck
{
    /// <exception cref="InvalidOperationException">Names or shapes differ between ranks.</exception>
    public static void Run(FlatParameters parameters, ProcessGroup group)
    {
        string names = string.Join('\n', parameters.Slots.Select(s => $"{s.Name} [{string.Join(',', s.Shape)}]")
            .Concat(parameters.Constants.Select(c => $"{c.Name} {c.Tensor.dtype} [{string.Join(',', c.Tensor.shape)}]")));
        string digest = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(names)));
        string mine = $"{digest} {parameters.Slots.Count} parameters with {parameters.Slots.Sum(s => s.Elements)} values";
        IReadOnlyList<string> all = group.AllGather(mine, "parameter names and shapes");
        int different = all.ToList().FindIndex(other => other != all[0]);
        if (different > 0)
        {
            throw new InvalidOperationException($"rank {different} has another model than rank 0: "
                + $"{all[different][65..]} against {all[0][65..]}; build the same model on every rank");
        }
    }
}
