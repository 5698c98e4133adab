namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Everything that the config can switch on, in real runs.</summary>
public sealed class ObservabilityTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("worker-observability-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Train_EverythingSwitchedOn_ShowsAndKeepsItOnRankZeroAlone()
    {
        string config = Path.Combine(_folder, "ds.json");
        string profile = Path.Combine(_folder, "profile.txt");
        File.WriteAllText(config, $$"""
            {
              "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "steps_per_print": 2,
              "wall_clock_breakdown": true, "memory_breakdown": true,
              "flops_profiler": { "enabled": true, "output_file": "{{profile}}" },
              "csv_monitor": { "enabled": true, "output_path": "{{_folder}}", "job_name": "job" },
              "tensorboard": { "enabled": true, "output_path": "{{_folder}}", "job_name": "job" },
              "optimizer": { "type": "AdamW", "params": { "lr": 1e-3 } }
            }
            """);
        RunningWorker[] world = RunningWorker.StartWorld(2, "train --n-layer 1 --n-head 2 --n-embd 16 --vocab-size 512 --sequence-length 16 "
            + $"--data {LossCurve.Tokens} --deepspeed {config} --max-steps 4");
        try
        {
            Assert.All(world, w => Assert.Equal(0, w.Wait()));

            string output = world[0].Output;
            Assert.Equal(2, Lines(output, "time (ms) | forward: "));
            Assert.Equal(2, Lines(output, "memory | resident: "));
            Assert.Equal(2, Lines(output, "step ")); // the worker's own progress
            Assert.Equal(0, Lines(output, "step=")); // and not the engine's as well
            Assert.Contains($"flops profile of step 2 in {profile}", output, StringComparison.Ordinal);
            Assert.DoesNotContain(" | ", world[1].Output, StringComparison.Ordinal);

            string report = File.ReadAllText(profile);
            // 2 x 16 tokens: 12 x 16 x 16 weights, scores and mix of 16 x 16 each, and 512 x 16 of the output layer.
            Assert.Matches(@"forward MACs of a micro batch +376\.8k\n", report);
            Assert.DoesNotContain("not counted", report, StringComparison.Ordinal);

            string[] loss = File.ReadAllLines(Path.Combine(_folder, "job", "Train_Samples_train_loss.csv"));
            Assert.Equal(["step", "8", "16", "24", "32"], loss.Select(line => line.Split(',')[0]));
            Assert.Equal(5, File.ReadAllLines(Path.Combine(_folder, "job", "Train_Samples_elapsed_time_ms_backward_allreduce.csv")).Length);
            Assert.Single(Directory.GetFiles(Path.Combine(_folder, "job"), "events.out.tfevents.*"));
        }
        finally
        {
            Array.ForEach(world, w => w.Dispose());
        }

        static int Lines(string text, string start) => text.Split('\n').Count(line => line.StartsWith(start, StringComparison.Ordinal));
    }
}
