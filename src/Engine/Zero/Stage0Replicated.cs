namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Stage 0, plain data parallelism: every rank has all gradients, all state and all weights.</summary>
internal sealed class Stage0Replicated(FlatParameters parameters, GradientBuckets buckets) : IZeroStage
{
    public bool ReducesEveryBackward => false;

    public void Begin() => buckets.Begin();

    public void Finish() => buckets.Finish();

    public void ThrowIfUnreduced()
    {
        // Whatever backward has added to the flat gradients is reduced before a step.
    }

    public void ClearGradients() => parameters.ClearGradients();

    public void GatherWeights()
    {
        // Every rank has made the same update.
    }

    public void Dispose() => buckets.Dispose();
}
