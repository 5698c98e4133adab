using BenchmarkDotNet.Attributes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>One AdamW update of 10 million fp32 values in 100 tensors' worth of parameters.</summary>
public class AdamBenchmarks : IDisposable
{
    private const int Tensors = 100;
    private const int PerTensor = 100_000;

    private readonly Tensor _values = randn(Tensors * PerTensor);
    private readonly Tensor _gradients = randn(Tensors * PerTensor);
    private readonly TorchSharp.Modules.Parameter[] _parameters = [.. Enumerable.Range(0, Tensors).Select(_ => new TorchSharp.Modules.Parameter(randn(PerTensor)))];
    private readonly Adam _fused;
    private readonly Adam _plain;
    private readonly TorchSharp.Modules.AdamW _torchSharp;

    public AdamBenchmarks()
    {
        _fused = new Adam(new AdamParams { WeightDecay = 0.1 }, _values);
        _plain = new Adam(new AdamParams { WeightDecay = 0.1 }, _values, fused: false);
        _torchSharp = optim.AdamW(_parameters, weight_decay: 0.1);
        foreach (TorchSharp.Modules.Parameter parameter in _parameters)
        {
            parameter.grad = randn(PerTensor);
        }
    }

    [Benchmark(Baseline = true, Description = "TorchSharp AdamW, 100 tensors")]
    public void TorchSharpAdamW() => _torchSharp.step();

    [Benchmark(Description = "plain formulas, flat buffer")]
    public void Plain() => _plain.Step(_values, _gradients);

    [Benchmark(Description = "fused kernel, flat buffer")]
    public void Fused() => _fused.Step(_values, _gradients);

    public void Dispose()
    {
        _fused.Dispose();
        _plain.Dispose();
        _torchSharp.Dispose();
        _values.Dispose();
        _gradients.Dispose();
        GC.SuppressFinalize(this);
    }
}
