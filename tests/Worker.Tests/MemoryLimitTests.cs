using System.Runtime.Versioning;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>What ZeRO is for: ranks with little memory train a model that none of them could hold.</summary>
[SupportedOSPlatform("linux")]
public sealed class MemoryLimitTests : IDisposable
{
    private const int Ranks = 4;
    private const string Model = "--model gpt2 --n-layer 16 --n-head 8 --n-embd 512 --vocab-size 512"; // 51 million parameters

    // A process takes about 200 MB before it has a model. Model states in fp32 are 16 bytes per parameter, 810 MB; a quarter is 200.
    private const long Limit = 640L << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("memory-limit-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Train_UnderAMemoryLimit_StageThreeTrainsWhatStageZeroCannot()
    {
        int[] codes = Train(0, out string said);
        Assert.Contains(137, codes); // the kernel has ended a rank
        Assert.DoesNotContain(0, codes);

        codes = Train(3, out said);
        Assert.True(codes.All(code => code == 0), said);
    }

    private int[] Train(int stage, out string said)
    {
        string config = Path.Combine(_folder, $"ds{stage}.json");
        File.WriteAllText(config, $$"""
            {"train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW", "params": {"lr": 1e-4} },
             "zero_optimization": {"stage": {{stage}}, "reduce_bucket_size": 4000000, "stage3_param_persistence_threshold": 0,
               "stage3_max_reuse_distance": 0, "stage3_prefetch_bucket_size": 2000000} }
            """);
        int port = TestPorts.Free();
        var groups = new List<MemoryGroup>();
        var workers = new List<RunningWorker>();
        try
        {
            for (int rank = 0; rank < Ranks; rank++)
            {
                MemoryGroup? group = MemoryGroup.TryCreate(Limit, out string reason);
                if (group is null)
                {
                    Assert.Skip(reason);
                }

                groups.Add(group!);
                string program = group!.Wrap(Path.Combine(_folder, $"worker{stage}_{rank}.sh"), RunningWorker.Program);
                workers.Add(RunningWorker.StartAs(program, rank, Ranks, port,
                    $"train {Model} --data {LossCurve.Tokens} --sequence-length 16 --max-steps 3 --deepspeed {config}", ("MALLOC_MMAP_THRESHOLD_", "1048576")));
            }

            int[] codes = [.. workers.Select(worker => worker.Wait())];
            said = string.Join('\n', workers.Select((worker, rank) => $"rank {rank}: exit code {codes[rank]}\n{worker.Output}"));
            return codes;
        }
        finally
        {
            workers.ForEach(worker => worker.Dispose());
            groups.ForEach(group => group.Dispose());
        }
    }
}
