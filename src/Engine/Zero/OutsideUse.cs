using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Finds parameters that a forward uses outside the modules they belong to, where they are not whole.</summary>
/// <remarks>Such a parameter reads as NaN, and so the loss is one. The forward is repeated with all of them reading as zeros
/// instead, and then with some as NaN, halving until those are left that spoil the result. Takes time, and is done only
/// when a result is not a number before a whole pass was made. All ranks repeat the same forwards.</remarks>
internal static class OutsideUse
{
    /// <summary>Whether a result is a scalar that is not a number. Waits for the device.</summary>
    public static bool IsNotANumber(Tensor result)
    {
        if (result.numel() != 1 || !result.is_floating_point())
        {
            return false;
        }

        using Tensor value = result.detach();
        return float.IsNaN(value.to(float32).ToSingle());
    }

    /// <summary>Looks for them.</summary>
    /// <param name="parameters">All parameters.</param>
    /// <param name="forward">Gives the result.</param>
    /// <exception cref="InvalidOperationException">There are some; the message names them.</exception>
    public static void ThrowIfFound(IReadOnlyList<PartitionedParameter> parameters, Func<Tensor> forward)
    {
        string[] found;
        try
        {
            Mark(parameters, isNumber: true);
            found = Spoils(forward) ? [] : [.. Among([.. parameters], forward).Select(p => p.Name)]; // else the numbers are the model's own
        }
        finally
        {
            Mark(parameters, isNumber: false);
        }

        if (found.Length > 0)
        {
            throw new InvalidOperationException($"{string.Join(", ", found)} {(found.Length == 1 ? "is" : "are")} used outside the module that owns "
                + "it, where ZeRO stage 3 does not have it: call DeepSpeed.Zero.RegisterExternalParameter(module, parameter) in the constructor of the module "
                + "that uses it, or use it inside DeepSpeed.Zero.GatheredParameters");
        }
    }

    private static PartitionedParameter[] Among(PartitionedParameter[] some, Func<Tensor> forward)
    {
        Mark(some, isNumber: false);
        bool spoils = Spoils(forward);
        Mark(some, isNumber: true);
        if (!spoils || some.Length <= 1)
        {
            return spoils ? some : [];
        }

        return [.. Among(some[..(some.Length / 2)], forward), .. Among(some[(some.Length / 2)..], forward)];
    }

    private static void Mark(IEnumerable<PartitionedParameter> parameters, bool isNumber)
    {
        foreach (PartitionedParameter parameter in parameters)
        {
            parameter.ReadReleasedAs(isNumber);
        }
    }

    private static bool Spoils(Func<Tensor> forward)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        return IsNotANumber(forward());
    }
}
