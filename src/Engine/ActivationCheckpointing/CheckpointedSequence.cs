using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>Modules run one after the other, like Sequential, in segments that are computed again in backward.</summary>
/// <remarks>
/// Children are named "0", "1" and so on, as in Sequential, so the names of parameters stay the same. With n modules in
/// s segments, memory holds s inputs and the activations of n/s modules; about the square root of n segments need the
/// least. See <see cref="ActivationCheckpoint"/>.
/// </remarks>
public sealed class CheckpointedSequence : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor>[] _modules;
    private readonly Range[] _segments;
    private readonly CheckpointOptions _options;

    /// <summary>Puts modules together.</summary>
    /// <param name="modules">The modules in order, at least one; this module owns them.</param>
    /// <param name="numberCheckpoints">Segments, of about equally many modules
    /// (<c>activation_checkpointing.number_checkpoints</c>); null makes each module one.</param>
    /// <param name="options">How inputs are kept; null means the defaults.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no module, or there are more segments than
    /// modules.</exception>
    public CheckpointedSequence(IEnumerable<nn.Module<Tensor, Tensor>> modules, int? numberCheckpoints = null,
        CheckpointOptions? options = null) : base(nameof(CheckpointedSequence))
    {
        (_modules, _options) = ([.. modules], options ?? new CheckpointOptions());
        ArgumentOutOfRangeException.ThrowIfZero(_modules.Length, nameof(modules));
        int segments = numberCheckpoints ?? _modules.Length;
        if (segments < 1 || segments > _modules.Length)
        {
            throw new ArgumentOutOfRangeException(nameof(numberCheckpoints), segments,
                $"{_modules.Length} modules make 1 to {_modules.Length} checkpoints");
        }

        _segments = [.. Enumerable.Range(0, segments)
            .Select(i => Boundary(i, segments)..Boundary(i + 1, segments))];
        for (int i = 0; i < _modules.Length; i++)
        {
            register_module($"{i}", _modules[i]);
        }
    }

    /// <summary>Segments that are computed again one at a time.</summary>
    public int NumberCheckpoints => _segments.Length;

    /// <summary>Runs the modules.</summary>
    /// <param name="input">What the first module takes.</param>
    /// <returns>What the last one gives; the caller disposes it.</returns>
    public override Tensor forward(Tensor input)
    {
        Tensor value = input;
        foreach (Range segment in _segments)
        {
            Tensor next = ActivationCheckpoint.Checkpoint(x => Run(segment, x), value, _options);
            if (!ReferenceEquals(value, input) && !ReferenceEquals(value, next))
            {
                value.Dispose(); // the next segment keeps the memory as long as it needs it
            }

            value = next;
        }

        return value;
    }

    /// <summary>Disposes the modules.</summary>
    /// <param name="disposing">Whether it is called by Dispose.</param>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (nn.Module<Tensor, Tensor> module in _modules)
            {
                module.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    private Tensor Run(Range segment, Tensor input) =>
        _modules[segment].Aggregate(input, (value, module) => module.call(value));

    private int Boundary(int segment, int segments) => (int)((long)segment * _modules.Length / segments);
}
