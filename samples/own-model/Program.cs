using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

FailureExit.Install(); // exit codes that tell the launcher whether another start can help
int lastStep = args.Length > 0 ? int.Parse(args[0]) : 1000;
string checkpoints = Environment.GetEnvironmentVariable("DSJ_CHECKPOINT_DIR") ?? "checkpoints";
DeepSpeedConfig config = DeepSpeedConfig.Load(Path.Combine(AppContext.BaseDirectory, "ds_config.json"));

using ProcessGroup group = DeepSpeed.InitDistributed();
manual_seed(1);
var model = new Net();
var (engine, _, loader, _) = DeepSpeed.Initialize(model, config, new Waves(4096), group, shuffleSeed: 1);
var (_, state) = engine.LoadCheckpoint(checkpoints);
int step = (int?)state?["step"] ?? 0;
if (group.Rank == 0) Console.WriteLine($"from step {step} on {EngineReport.For(engine)}");

while (step < lastStep)
{
    using var scope = NewDisposeScope();
    var (x, y) = loader!.Next();
    Tensor loss = engine.Forward(() => nn.functional.mse_loss(model.call(x.to(engine.Device)), y.to(engine.Device)));
    engine.Backward(loss);
    if (engine.Step() is not { } result) continue; // gradients of another micro batch come first
    step++;
    if (group.Rank == 0 && step % 100 == 0) Console.WriteLine($"step {step} loss {result.Metrics.Loss:0.0000}");
    if (step % 100 == 0) engine.SaveCheckpoint(checkpoints, clientState: new JsonObject { ["step"] = step });
}

engine.Dispose();

sealed class Net : nn.Module<Tensor, Tensor>
{
    private readonly Linear hidden = nn.Linear(1, 64), output = nn.Linear(64, 1);
    public Net() : base("Net") => RegisterComponents();
    public override Tensor forward(Tensor x) => output.call(nn.functional.gelu(hidden.call(x)));
}

/// <summary>Points of a sine wave.</summary>
sealed class Waves(int count) : ITrainingData<(Tensor X, Tensor Y)>
{
    public long Count => count;
    public (Tensor X, Tensor Y) Batch(IReadOnlyList<long> indices)
    {
        Tensor x = tensor(indices.Select(i => 6f * i / count - 3f).ToArray()).view(-1, 1); // [samples, 1]
        return (x, x.sin());
    }
}
