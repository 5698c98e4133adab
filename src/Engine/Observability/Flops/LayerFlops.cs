using TorchSharp.Modules;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The work of TorchSharp's built-in layers, by type and shapes.</summary>
internal static class LayerFlops
{
    private static readonly HashSet<string> OnePerElement =
    [
        nameof(ReLU), nameof(ReLU6), nameof(GELU), nameof(SiLU), nameof(Mish), nameof(ELU), nameof(SELU), nameof(CELU),
        nameof(LeakyReLU), nameof(PReLU), nameof(RReLU), nameof(Tanh), nameof(Tanhshrink), nameof(Sigmoid),
        nameof(LogSigmoid), nameof(Hardsigmoid), nameof(Hardswish), nameof(Hardtanh), nameof(Hardshrink),
        nameof(Softplus), nameof(Softshrink), nameof(Softsign), nameof(Threshold), nameof(GLU), nameof(Softmax),
        nameof(Softmax2d), nameof(Softmin), nameof(LogSoftmax),
        nameof(AvgPool1d), nameof(AvgPool2d), nameof(AvgPool3d), nameof(MaxPool1d), nameof(MaxPool2d), nameof(MaxPool3d),
        nameof(AdaptiveAvgPool1d), nameof(AdaptiveAvgPool2d), nameof(AdaptiveAvgPool3d),
        nameof(AdaptiveMaxPool1d), nameof(AdaptiveMaxPool2d), nameof(AdaptiveMaxPool3d),
    ];

    // Look-ups, masks, copies and other views of the same numbers.
    private static readonly HashSet<string> Free =
    [
        nameof(TorchSharp.Modules.Embedding), nameof(EmbeddingBag), nameof(Dropout), nameof(Dropout1d), nameof(Dropout2d),
        nameof(Dropout3d), nameof(AlphaDropout), nameof(FeatureAlphaDropout), nameof(Identity), nameof(Flatten),
        nameof(Unflatten), nameof(Fold), nameof(Unfold), nameof(ChannelShuffle), nameof(PixelShuffle),
        nameof(PixelUnshuffle), nameof(Sequential), "ModuleList", "ModuleDict",
    ];

    /// <summary>The layer's own work in one call; null when this is no built-in layer with a rule.</summary>
    public static FlopCount? Of(nn.Module module, ModuleCall call)
    {
        Type type = module.GetType();
        if (type.Assembly != typeof(nn.Module).Assembly || call.Inputs.Count == 0)
        {
            return null;
        }

        IReadOnlyList<long> input = call.Inputs[0];
        return module switch
        {
            Linear linear => FlopCount.Linear(input, linear.out_features),
            ConvolutionTranspose c => FlopCount.TransposedConvolution(input, c.weight!.shape, call.Outputs[0], c.bias is not null),
            Convolution c => FlopCount.Convolution(call.Outputs[0], c.weight!.shape, c.bias is not null),
            LayerNorm norm => FlopCount.Norm(input, norm.elementwise_affine),
            GroupNorm norm => FlopCount.Norm(input, norm.affine),
            NormBase norm => FlopCount.Norm(input, norm.affine),
            Bilinear b => FlopCount.OfMacs(Rows(input) * b.weight!.numel()),
            MultiheadAttention when call.Inputs.Count >= 3 => SelfProjected(input, call.Inputs[1], call.Inputs[2]),
            LSTM or GRU or RNN or LSTMCell or GRUCell or RNNCell => Recurrent(module, input),
            _ => ByName(type, input, call),
        };
    }

    private static FlopCount? ByName(Type type, IReadOnlyList<long> input, ModuleCall call)
    {
        string name = type.Name.Split('`')[0];
        return OnePerElement.Contains(name) ? FlopCount.Elementwise(input)
            : name == nameof(Upsample) ? FlopCount.Elementwise(call.Outputs[0])
            : Free.Contains(name) || name.Contains("Pad", StringComparison.Ordinal) || name.EndsWith("Loss", StringComparison.Ordinal)
                ? FlopCount.Zero : null;
    }

    // Each matrix meets each row of the sequence once; the gates' element-wise work is left out.
    private static FlopCount? Recurrent(nn.Module module, IReadOnlyList<long> input)
    {
        long weights = module.parameters().Where(p => p.dim() == 2).Sum(p => p.numel());
        return weights == 0 ? null : FlopCount.OfMacs(checked(Rows(input) * weights));
    }

    // [length, batch, size] each: four projections around the attention, whose heads add up to the size.
    private static FlopCount SelfProjected(IReadOnlyList<long> query, IReadOnlyList<long> key, IReadOnlyList<long> value)
    {
        long size = query[^1];
        long[] Heads(IReadOnlyList<long> shape) => [shape.Count == 3 ? shape[1] : 1, shape[0], size];
        return FlopCount.Linear(query, 2 * size) + FlopCount.Linear(key, size) + FlopCount.Linear(value, size)
            + FlopCount.Attention(Heads(query), Heads(key), Heads(value));
    }

    private static long Rows(IReadOnlyList<long> shape) => shape.SkipLast(1).Aggregate(1L, (product, n) => checked(product * n));
}
