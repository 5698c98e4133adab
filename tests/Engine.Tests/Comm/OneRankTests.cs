using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>What a group of one rank does on a device, against the collectives in host memory.</summary>
public sealed class OneRankTests
{
    public static TheoryData<string> Kinds => [.. Enum.GetNames<CollectiveKind>()];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Run_AnyKind_EqualsTheHosts(string name)
    {
        CollectiveKind kind = Enum.Parse<CollectiveKind>(name);
        using DisposeScope scope = NewDisposeScope();
        using var host = new HostCollectives(HostLinks.Alone());
        foreach (int size in (int[])[0, 1, 7, 1009])
        {
            foreach (bool inPlace in Choices(kind))
            {
                Assert.Equal(Run(kind, size, inPlace, host.RunNow), Run(kind, size, inPlace, OneRank.Run));
            }
        }
    }

    // Which of the two forms a kind has: the result in its input (or in a filled output), and apart.
    private static bool[] Choices(CollectiveKind kind) => kind switch
    {
        CollectiveKind.AllReduce or CollectiveKind.Reduce or CollectiveKind.Broadcast or CollectiveKind.Barrier => [true],
        CollectiveKind.ReduceScatter or CollectiveKind.AllGather => [true, false],
        _ => [false],
    };

    // Inputs and outputs afterwards, with elements around them that must stay.
    private static float[] Run(CollectiveKind kind, int size, bool inPlace, Action<Collective> run)
    {
        Tensor values = arange(size + 4, dtype: float32), results = full(size + 6, -1, float32);
        Piece[] inputs = [new Piece(values, 2, size)], outputs = [new Piece(results, 3, size)];
        run(kind switch
        {
            CollectiveKind.Barrier => new Collective(kind, "test"),
            CollectiveKind.AllGather when inPlace => new Collective(kind, "test") { Outputs = outputs },
            _ => new Collective(kind, "test") { Inputs = inputs, Outputs = inPlace ? [] : outputs },
        });
        return [.. values.data<float>().ToArray(), .. results.data<float>().ToArray()];
    }
}
