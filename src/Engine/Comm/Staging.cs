using DeepSpeedSharp.Engine.Comm.Transport;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>The memory that a collective works on: that of CPU tensors itself, a copy of CUDA tensors.</summary>
internal sealed class Staging : IDisposable
{
    private readonly List<(Tensor View, Tensor Copy, bool IsResult)> _copies = [];

    private Staging(Block[] inputs, Block[] outputs)
    {
        (Inputs, Outputs) = (inputs, outputs);
    }

    /// <summary>One per input piece.</summary>
    public Block[] Inputs { get; }

    /// <summary>One per output piece.</summary>
    public Block[] Outputs { get; }

    /// <summary>Finds or makes the memory.</summary>
    public static Staging Of(Collective call)
    {
        var staging = new Staging(new Block[call.Inputs.Count], new Block[call.Outputs.Count]);
        bool inPlace = call.Outputs.Count == 0;
        for (int i = 0; i < staging.Inputs.Length; i++)
        {
            staging.Inputs[i] = staging.BlockOf(call.Inputs[i], inPlace, true);
        }

        for (int i = 0; i < staging.Outputs.Length; i++)
        {
            // An all-gather whose input is in its output needs that part filled.
            staging.Outputs[i] = staging.BlockOf(call.Outputs[i], true, call.Inputs.Count == 0);
        }

        return staging;
    }

    /// <summary>The memory of one piece, or a copy of it.</summary>
    /// <param name="piece">Elements.</param>
    /// <param name="isResult">Whether it is written, and so copied back.</param>
    /// <param name="isRead">Whether its values count.</param>
    public static Staging Of(Piece piece, bool isResult, bool isRead)
    {
        var staging = new Staging(new Block[1], []);
        staging.Inputs[0] = staging.BlockOf(piece, isResult, isRead);
        return staging;
    }

    /// <summary>Copies results to CUDA tensors.</summary>
    public void CopyBack()
    {
        foreach ((Tensor view, Tensor copy, bool isResult) in _copies)
        {
            if (isResult)
            {
                using IDisposable noGrad = torch.no_grad();
                view.copy_(copy).DetachFromDisposeScope();
            }
        }
    }

    public void Dispose()
    {
        foreach ((Tensor view, Tensor copy, bool _) in _copies)
        {
            view.Dispose();
            copy.Dispose();
        }
    }

    private unsafe Block BlockOf(Piece piece, bool isResult, bool isRead)
    {
        Tensor tensor = piece.Tensor;
        long size = tensor.element_size();
        if (tensor.device_type == DeviceType.CPU)
        {
            return new Block((byte*)TensorMemory.Address(tensor) + piece.Start * size, piece.Length * size);
        }

        using IDisposable noGrad = torch.no_grad();
        using Tensor flat = tensor.view(tensor.numel()).DetachFromDisposeScope();
        Tensor view = flat.narrow(0, piece.Start, piece.Length).DetachFromDisposeScope();
        Tensor copy = (isRead ? view.cpu() : torch.empty(piece.Length, tensor.dtype)).DetachFromDisposeScope();
        _copies.Add((view, copy, isResult));
        return new Block((byte*)TensorMemory.Address(copy), piece.Length * size);
    }
}
