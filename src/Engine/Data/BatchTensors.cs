using System.Collections;
using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Data;

/// <summary>Finds the tensors of a batch, whatever its type: a tensor, a tuple, or a list of them, nested as well.</summary>
internal static class BatchTensors
{
    /// <summary>Hands tensors made on another thread to the caller's dispose scope, as if made here.</summary>
    public static void Adopt(object? batch)
    {
        using DisposeScope scope = NewDisposeScope();
        foreach (Tensor tensor in Of(batch))
        {
            scope.Attach(tensor);
            tensor.MoveToOuterDisposeScope();
        }
    }

    /// <summary>Disposes a batch nobody took.</summary>
    public static void Dispose(object? batch)
    {
        if (batch is IDisposable disposable)
        {
            disposable.Dispose();
            return;
        }

        foreach (Tensor tensor in Of(batch))
        {
            tensor.Dispose();
        }
    }

    private static IEnumerable<Tensor> Of(object? batch) => batch switch
    {
        Tensor tensor => [tensor],
        ITuple tuple => Enumerable.Range(0, tuple.Length).SelectMany(i => Of(tuple[i])),
        IDictionary map => map.Values.Cast<object?>().SelectMany(Of),
        // Text is a sequence of characters, arrays of numbers have no tensors: both would only cost time.
        string or Array { Rank: > 1 } => [],
        IEnumerable list when batch.GetType() is not { IsArray: true } type || !type.GetElementType()!.IsPrimitive =>
            list.Cast<object?>().SelectMany(Of),
        _ => [],
    };
}
