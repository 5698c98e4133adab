using System.Globalization;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Checkpoints of the worker when it is killed, when one is damaged, and when one is exported.</summary>
public sealed class CheckpointProcessTests : IDisposable
{
    private const int Kills = 50;

    private readonly string _folder = Directory.CreateTempSubdirectory("worker-checkpoints-").FullName;

    public CheckpointProcessTests() => File.WriteAllText(Path.Combine(_folder, "ds.json"),
        """{"train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}, "zero_optimization": {"stage": 1}}""");

    private string Checkpoints => Path.Combine(_folder, "checkpoints");

    private string Arguments => $"train --n-layer 1 --n-head 2 --n-embd 16 --vocab-size 512 --sequence-length 16 "
        + $"--data {LossCurve.Tokens} --deepspeed {Path.Combine(_folder, "ds.json")} --checkpoint-dir {Checkpoints}";

    private long LatestStep => long.Parse(File.ReadAllText(Path.Combine(Checkpoints, "latest"))["global_step".Length..], CultureInfo.InvariantCulture);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // It saves after every step and is killed at any moment; each start verifies and loads what latest names, without a warning.
    [Fact]
    public void Kill_AtAnyMomentOfSaving_LatestAlwaysLoads()
    {
        var random = new Random(50);
        long before = 0;
        for (int kill = 0; kill < Kills; kill++)
        {
            using RunningWorker worker = RunningWorker.Start(0, 1, TestPorts.Free(),
                $"{Arguments} --max-steps 1000000 --save-steps 1 --save-total-limit 3{(kill % 2 == 0 ? "" : " --async-save")}");
            string loaded = kill == 0 ? "starting anew" : $"resuming after step {before} from {Path.Combine(Checkpoints, $"global_step{before}")}";
            Poll.Until(() => worker.HasExited || (worker.Output.Contains(loaded, StringComparison.Ordinal)
                && File.Exists(Path.Combine(Checkpoints, "latest")) && LatestStep > before), $"kill {kill}: \"{loaded}\", and a step more", () => worker.Output);
            Assert.False(worker.HasExited, worker.Output);
            using var moment = new CancellationTokenSource(random.Next(30));
            moment.Token.WaitHandle.WaitOne();

            worker.Signal("KILL");

            _ = worker.Wait();
            before = LatestStep;
            Assert.DoesNotContain("damaged", worker.Output, StringComparison.Ordinal);
        }

        using RunningWorker last = RunningWorker.Start(0, 1, TestPorts.Free(), $"{Arguments} --max-steps {before + 1}");
        Assert.True(last.Wait() == 0, last.Output);
        // What the killed ones left is gone after a save.
        Assert.All(Directory.GetDirectories(Checkpoints), path => Assert.True(File.Exists(Path.Combine(path, "manifest.json")), path));
    }

    [Fact]
    public void Resume_LatestIsDamaged_TakesTheOneBeforeWithAWarning()
    {
        using RunningWorker first = RunningWorker.Start(0, 1, TestPorts.Free(), $"{Arguments} --max-steps 4 --save-steps 2");
        Assert.Equal(0, first.Wait());
        string file = Directory.GetFiles(Path.Combine(Checkpoints, "global_step4"), "*.safetensors")[0];
        byte[] bytes = File.ReadAllBytes(file);
        bytes[^1] ^= 1;
        File.WriteAllBytes(file, bytes);

        using RunningWorker second = RunningWorker.Start(0, 1, TestPorts.Free(), $"{Arguments} --max-steps 5");

        Assert.True(second.Wait() == 0, second.Output);
        Assert.Contains(Path.GetFileName(file), second.Output, StringComparison.Ordinal);
        Assert.Contains("trying global_step2, an earlier one", second.Output, StringComparison.Ordinal);
        Assert.Contains("resuming after step 2", second.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Sigterm_WhileACheckpointIsWrittenBehind_SavesAndExits143()
    {
        RunningWorker[] world = RunningWorker.StartWorld(2, $"{Arguments} --max-steps 1000000 --save-steps 1 --async-save");
        try
        {
            Poll.Until(() => world[0].Output.Contains("it is being written", StringComparison.Ordinal)
                || world[0].Output.Contains("saved ", StringComparison.Ordinal), "the first checkpoint", () => world[0].Output);

            world[1].Signal("TERM");

            Assert.All(world, w => Assert.True(w.Wait() == 143, w.Output));
            Assert.Contains($"checkpoint of step {LatestStep} in", world[0].Output, StringComparison.Ordinal);
            Assert.True(File.Exists(Path.Combine(Checkpoints, $"global_step{LatestStep}", "manifest.json")));
        }
        finally
        {
            Array.ForEach(world, w => w.Dispose());
        }
    }
}
