using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>The model of toy_training.json: 3 -> 5 (tanh) -> 3 with mean squared error.</summary>
internal sealed class ToyModel : nn.Module<Tensor, Tensor, Tensor>
{
    private readonly TorchSharp.Modules.Linear first = nn.Linear(3, 5);
    private readonly TorchSharp.Modules.Linear second = nn.Linear(5, 3);

    public ToyModel()
        : base(nameof(ToyModel))
    {
        RegisterComponents();
        using IDisposable noGrad = no_grad();
        int offset = 0;
        float[] initial = [.. Vectors.Read("toy_training.json").GetProperty("initial_params").EnumerateArray().Select(v => v.GetSingle())];
        foreach (TorchSharp.Modules.Parameter parameter in parameters())
        {
            int count = (int)parameter.numel();
            using Tensor values = tensor(initial[offset..(offset + count)], parameter.shape);
            parameter.copy_(values);
            offset += count;
        }
    }

    public override Tensor forward(Tensor x, Tensor y) =>
        nn.functional.mse_loss(second.call(first.call(x).tanh()), y);

    public float[] Flat() => [.. parameters().SelectMany(p => p.data<float>().ToArray())];
}

/// <summary>The eight samples of toy_training.json.</summary>
internal sealed class ToyData : ITrainingData<(Tensor X, Tensor Y)>
{
    private readonly float[][] _inputs = Rows("inputs");
    private readonly float[][] _targets = Rows("targets");

    public long Count => _inputs.Length;

    public (Tensor X, Tensor Y) Batch(IReadOnlyList<long> indices) => (Stack(_inputs, indices), Stack(_targets, indices));

    private static Tensor Stack(float[][] rows, IReadOnlyList<long> indices) =>
        tensor([.. indices.SelectMany(i => rows[i])], [indices.Count, 3]);

    private static float[][] Rows(string name) => [.. Vectors.Read("toy_training.json").GetProperty(name).EnumerateArray()
        .Select(row => row.EnumerateArray().Select(v => v.GetSingle()).ToArray())];
}
