using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Collectives of a group of one rank: it gets what it gives. On the device of the tensors, in the order of its
/// stream, so that training on one GPU does not go through host memory.</summary>
internal static class OneRank
{
    /// <summary>Does one collective, on the current stream.</summary>
    /// <param name="call">As checked for a group of one rank.</param>
    public static void Run(Collective call)
    {
        // In place, or a filled output: it is all there.
        if (call.Inputs.Count == 0 || call.Outputs.Count == 0)
        {
            return;
        }

        using DisposeScope scope = torch.NewDisposeScope();
        using IDisposable noGrad = torch.no_grad();
        View(call.Outputs[0]).copy_(View(call.Inputs[0]));
    }

    private static Tensor View(Piece piece) => piece.Tensor.view(piece.Tensor.numel()).narrow(0, piece.Start, piece.Length);
}
