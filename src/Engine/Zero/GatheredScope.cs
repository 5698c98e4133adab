using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Keeps partitioned parameters whole until it is disposed.</summary>
internal sealed class GatheredScope : IDisposable
{
    private readonly List<(PartitionedParameter Parameter, bool WasWhole)> _held = [];
    private readonly int? _modifierRank;
    private bool _disposed;

    /// <param name="parameters">Parameters; ordinary ones are left as they are.</param>
    /// <param name="modifierRank">The rank whose changes are kept; null keeps none.</param>
    public GatheredScope(IEnumerable<TorchSharp.Modules.Parameter> parameters, int? modifierRank)
    {
        _modifierRank = modifierRank;
        PartitionedParameter[] partitioned = [.. parameters.Select(PartitionedParameter.Of).OfType<PartitionedParameter>().Distinct()];
        if (partitioned.FirstOrDefault(p => p.IsHeld) is { } held)
        {
            throw new InvalidOperationException($"{held.Name} is in an outer GatheredParameters already; leave it out of the inner one, "
                + "or end the outer one first");
        }

        if (modifierRank is { } rank && partitioned.FirstOrDefault(p => rank < 0 || rank >= p.Cut.WorldSize) is { } first)
        {
            throw new ArgumentOutOfRangeException(nameof(modifierRank), rank, $"there are {first.Cut.WorldSize} ranks");
        }

        foreach (PartitionedParameter parameter in partitioned)
        {
            parameter.Arrive?.Invoke();
            _held.Add((parameter, parameter.IsWhole));
            parameter.IsHeld = true;
            if (!parameter.IsWhole && parameter.Cut.Elements > 0)
            {
                var gatherer = new ParameterGatherer(parameter.Group!);
                gatherer.Finish(gatherer.Start([parameter], "GatheredParameters"));
            }
        }
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        using IDisposable noGrad = no_grad();
        foreach ((PartitionedParameter parameter, bool wasWhole) in _held)
        {
            parameter.IsHeld = false;
            if (_modifierRank is { } root && parameter.Cut.Elements > 0)
            {
                using (Tensor whole = parameter.Leaf.detach())
                {
                    parameter.Group!.Broadcast(whole, root, parameter.Name);
                    parameter.Store(whole);
                }
            }

            if (!wasWhole)
            {
                parameter.Release();
            }
        }
    }
}
