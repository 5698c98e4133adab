using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>What is sharded in a run, and where this rank stands.</summary>
/// <param name="Stage">0 shards nothing, 1 the optimizer's state and masters, 2 also gradients, 3 also
/// weights.</param>
/// <param name="Rank">This rank.</param>
/// <param name="WorldSize">Ranks that share; 1 in stage 0, where each rank owns everything.</param>
/// <param name="RoundRobin">Deals parameters to the ranks in turn.</param>
internal sealed record Sharding(int Stage, int Rank, int WorldSize, bool RoundRobin)
{
    /// <summary>Every rank owns everything.</summary>
    public static Sharding None { get; } = new(0, 0, 1, false);

    /// <summary>Whether anything is sharded.</summary>
    public bool IsOn => Stage > 0;

    /// <summary>What a config asks for.</summary>
    public static Sharding From(ZeroConfig config, ProcessGroup group) => config.Stage == 0
        ? None : new Sharding(config.Stage, group.Rank, group.WorldSize, config.RoundRobinGradients);
}
