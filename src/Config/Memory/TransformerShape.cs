namespace DeepSpeedSharp.Config;

/// <summary>A transformer as far as memory is concerned.</summary>
/// <param name="Layers">Number of layers.</param>
/// <param name="Hidden">Width.</param>
public sealed record TransformerShape(int Layers, int Hidden)
{
    private const double WidthPerLayer = 128; // of GPT-3's family: 96 layers, 12288 wide

    /// <summary>Parameters of one layer: 12 h².</summary>
    public double ParametersPerLayer => 12.0 * Hidden * Hidden;

    /// <summary>A usual shape for a number of parameters: 12 L h² of them, with h = 128 L.</summary>
    /// <remarks>Brown et al., "Language Models are Few-Shot Learners", 2020, table 2, has that width for its depth.</remarks>
    /// <param name="parameters">At least 1.</param>
    public static TransformerShape Usual(long parameters)
    {
        double layers = Math.Cbrt(parameters / (12 * WidthPerLayer * WidthPerLayer));
        int whole = Math.Max(1, (int)Math.Round(layers));
        return new TransformerShape(whole, Math.Max(1, (int)Math.Round(Math.Sqrt(parameters / (12.0 * whole)))));
    }

    /// <summary>What backward needs of the layers' inputs and results, for one micro batch.</summary>
    /// <remarks>
    /// 34 bytes for each token and unit of width in 16 bits, and twice that in fp32; the scores of attention are not kept.
    /// With recomputation 2 bytes (4) for each layer, and one layer whole. The output layer's logits are not counted.
    /// Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, equation 2.
    /// </remarks>
    /// <param name="tokens">Tokens of a micro batch.</param>
    /// <param name="bytesPerValue">2 or 4.</param>
    /// <param name="recompute">Whether layers are computed again in backward.</param>
    public long ActivationBytes(long tokens, int bytesPerValue, bool recompute)
    {
        double layer = 17.0 * bytesPerValue * tokens * Hidden;
        double input = (double)bytesPerValue * tokens * Hidden;
        return (long)(recompute ? Layers * input + layer : Layers * layer);
    }
}
