using System.Runtime.CompilerServices;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>A parameter of which every rank keeps a part, and that is whole only while it is in use.</summary>
/// <remarks>
/// The parameter object stays the same, with its shape, hooks and role in autograd. While it is whole it shows a storage
/// that autograd may keep views of; when it is released, the memory of that storage is given back, and the parameter
/// itself shows one NaN for all elements: whoever reads it then gets NaN, and not the end of the process. When backward
/// has gathered it again the views find the values in the same storage.
/// </remarks>
internal sealed class PartitionedParameter : IDisposable
{
    // Who may be asked for a parameter that the caller of GatheredParameters names. Lives as long as the parameter.
    private static readonly ConditionalWeakTable<TorchSharp.Modules.Parameter, PartitionedParameter> Known = [];

    private readonly Tensor _mark; // scalar NaN
    private readonly Tensor _released; // it in the parameter's shape
    private readonly Tensor _memory; // [padded] while there is memory, [0] otherwise
    private Tensor? _whole; // the parameter's elements of it, in its shape

    /// <param name="name">Its name in the model, for messages.</param>
    /// <param name="leaf">The parameter; it keeps its values until <see cref="Release"/>.</param>
    /// <param name="cut">How it is cut.</param>
    /// <param name="type">Type of the weights.</param>
    /// <param name="device">Where it is used.</param>
    public PartitionedParameter(string name, TorchSharp.Modules.Parameter leaf, ParameterPartition cut, ScalarType type, Device device)
    {
        (Name, Leaf, Cut, Shape) = (name, leaf, cut, leaf.shape);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _memory = empty(0, type, device).DetachFromDisposeScope();
        _mark = full([], double.NaN, type, device).DetachFromDisposeScope();
        _released = _mark.expand(Shape).DetachFromDisposeScope();
        Known.AddOrUpdate(leaf, this);
    }

    /// <summary>Its name in the model.</summary>
    public string Name { get; }

    /// <summary>The parameter.</summary>
    public TorchSharp.Modules.Parameter Leaf { get; }

    /// <summary>Its shape.</summary>
    public long[] Shape { get; }

    /// <summary>How it is cut.</summary>
    public ParameterPartition Cut { get; }

    /// <summary>Where this rank's part is.</summary>
    public required IWeightShards Shards { get; init; }

    /// <summary>The elements of <see cref="Shards"/> that are this rank's part, padding included.</summary>
    public required ElementRange Part { get; init; }

    /// <summary>Takes new values, in the parameter's shape and the same on every rank, to wherever this rank keeps its part of them.</summary>
    public required Action<Tensor> Store { get; init; }

    /// <summary>The ranks that share it.</summary>
    public ProcessGroup? Group { get; set; }

    /// <summary>Waits until it is whole, when it is on its way.</summary>
    public Action? Arrive { get; set; }

    /// <summary>Whether an engine trains it, so that it has masters beside <see cref="Shards"/>.</summary>
    public bool IsTraining => Arrive is not null;

    /// <summary>Whether somebody asked for it to stay whole.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Whether there is memory for all of it.</summary>
    public bool HasMemory { get; private set; }

    /// <summary>Whether it can be used.</summary>
    public bool IsWhole { get; private set; }

    /// <summary>Bytes that are taken beside the shard.</summary>
    public long GatheredBytes => HasMemory ? Cut.PaddedElements * _memory.element_size() : 0;

    /// <summary>[padded]: all parts, one after the other. Only while there is memory.</summary>
    public Tensor Memory => _memory;

    /// <summary>The one that stands for a parameter; null when it is an ordinary one.</summary>
    public static PartitionedParameter? Of(TorchSharp.Modules.Parameter leaf) =>
        Known.TryGetValue(leaf, out PartitionedParameter? found) ? found : null;

    /// <summary>Says what it reads as while it is released.</summary>
    /// <param name="isNumber">True is zero, false NaN.</param>
    public void ReadReleasedAs(bool isNumber)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _mark.fill_(isNumber ? 0 : double.NaN);
    }

    /// <summary>Takes memory for all of it.</summary>
    /// <exception cref="InvalidOperationException">There is not enough.</exception>
    public void TakeMemory()
    {
        if (HasMemory || Cut.Elements == 0)
        {
            return;
        }

        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        StorageMemory.Take(_memory, Cut.PaddedElements);
        HasMemory = true;
        _whole ??= _memory.narrow(0, 0, Cut.Elements).view(Shape).DetachFromDisposeScope();
    }

    /// <summary>Shows the values: <see cref="Memory"/> has all parts.</summary>
    public void Show()
    {
        if (_whole is not null)
        {
            TensorMemory.SetData(Leaf, _whole);
        }

        IsWhole = true;
    }

    /// <summary>Gives the memory back.</summary>
    public void Release()
    {
        IsWhole = false;
        TensorMemory.SetData(Leaf, _released);
        if (HasMemory)
        {
            HasMemory = false;
            StorageMemory.Free(_memory);
        }
    }

    /// <summary>Makes it an ordinary parameter without values; another object stands for it from now on.</summary>
    public void Dispose()
    {
        if (Of(Leaf) == this)
        {
            Known.Remove(Leaf);
        }

        if (HasMemory)
        {
            Release();
        }

        _whole?.Dispose();
        _memory.Dispose();
        _released.Dispose();
        _mark.Dispose();
    }
}
