using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>What collectives refuse before anything is sent.</summary>
internal static class TensorChecks
{
    /// <summary>Refuses a tensor whose values cannot be combined in this way.</summary>
    public static void Combinable(Tensor tensor, ReduceOp op, CollectiveKind kind, string name)
    {
        Contiguous(tensor, name);
        ScalarType type = tensor.dtype;
        if (!Reduction.Supports(type))
        {
            throw new ArgumentException($"{kind} of {name}: values of type {type} cannot be combined over ranks; convert them to Float32, Float64, "
                + "Float16, BFloat16, Int32, Int64 or Byte", nameof(tensor));
        }

        if (!Reduction.Supports(type, op))
        {
            throw new ArgumentException($"{kind} of {name}: {op} is not defined for {type}; " + (op == ReduceOp.Avg
                ? "take Sum and divide it, or convert to a floating-point type" : "use an integer type"), nameof(op));
        }
    }

    /// <summary>Refuses a tensor whose elements do not follow each other in memory.</summary>
    /// <returns>The tensor.</returns>
    public static Tensor Contiguous(Tensor tensor, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.is_contiguous() && tensor.device_type is DeviceType.CPU or DeviceType.CUDA ? tensor
            : throw new ArgumentException($"{name}: a tensor of shape [{string.Join(", ", tensor.shape)}] on {tensor.device} is not contiguous in memory; "
                + "pass tensor.contiguous() and copy the result back", nameof(tensor));
    }

    /// <summary>Refuses a tensor that is not like another one in type and device.</summary>
    public static void Alike(Tensor tensor, Tensor other, string name)
    {
        Contiguous(tensor, name);
        if (tensor.dtype != other.dtype || tensor.device_type != other.device_type)
        {
            throw new ArgumentException($"{name}: one tensor is {tensor.dtype} on {tensor.device}, another {other.dtype} on {other.device}; "
                + "all tensors of a collective must be alike", nameof(tensor));
        }
    }

    /// <summary>Refuses a tensor that does not have a piece's type and length.</summary>
    public static void Fits(Piece piece, Tensor tensor, CollectiveKind kind, string name)
    {
        Alike(tensor, piece.Tensor, name);
        if (tensor.numel() != piece.Length)
        {
            throw new ArgumentException($"{kind} of {name}: this rank's own parts have {tensor.numel()} and {piece.Length} elements; "
                + "what it gives to itself and takes from itself is the same", nameof(tensor));
        }
    }

    /// <summary>Refuses lists of different lengths.</summary>
    public static void SameCount(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> inputs, string name)
    {
        if (outputs.Count != inputs.Count)
        {
            throw new ArgumentException($"{name}: {outputs.Count} outputs for {inputs.Count} inputs; give one for each", nameof(outputs));
        }
    }
}
