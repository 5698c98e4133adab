using System.Text;
namespace DeepSpeedSharp.Engine.Native;

/// <summary>Calls any ATen operator through libtorch's C dispatcher.</summary>
/// <remarks>
/// Arguments are 64-bit words, every one of the operator's schema in order. Tensor and list arguments are owned by the
/// callee, so each is encoded afresh for each call; a word is never used twice. There are no texts: of each that it
/// is given, libtorch makes a copy that it never frees.
/// </remarks>
internal static unsafe class Dispatcher
{
    private static readonly delegate* unmanaged<byte*, byte*, ulong*, ulong, int> CallOperator =
        (delegate* unmanaged<byte*, byte*, ulong*, ulong, int>)Symbols.OfTorch("torch_call_dispatcher");

    private static readonly delegate* unmanaged<nint, nint*, int> NewTensorHandle =
        (delegate* unmanaged<nint, nint*, int>)Symbols.OfTorch("aoti_torch_new_tensor_handle");

    private static readonly delegate* unmanaged<nuint, nint*, int> NewList =
        (delegate* unmanaged<nuint, nint*, int>)Symbols.OfTorch("torch_new_list_reserve_size");

    private static readonly delegate* unmanaged<nint, ulong, int> Push =
        (delegate* unmanaged<nint, ulong, int>)Symbols.OfTorch("torch_list_push_back");

    // An optional value travels as a pointer that the callee frees with C++ delete, hence C++ operator new.
    private static readonly delegate* unmanaged<nuint, nint> CppNew =
        (delegate* unmanaged<nuint, nint>)Symbols.OfCppRuntime("_Znwm");

    /// <summary>ABI version of this libtorch: major and minor in the two highest bytes.</summary>
    public static readonly ulong AbiVersion =
        ((delegate* unmanaged<ulong>)Symbols.OfTorch("aoti_torch_abi_version"))();

    public static ulong Of(Tensor tensor)
    {
        nint handle;
        Check(NewTensorHandle(tensor.Handle, &handle), "aoti_torch_new_tensor_handle");
        return (ulong)handle;
    }

    public static ulong Of(IReadOnlyList<Tensor> tensors)
    {
        nint list;
        Check(NewList((nuint)tensors.Count, &list), "torch_new_list_reserve_size");
        foreach (Tensor tensor in tensors)
        {
            Check(Push(list, Of(tensor)), "torch_list_push_back");
        }

        return (ulong)list;
    }

    /// <summary>A list of integers, such as a shape.</summary>
    public static ulong OfNumbers(ReadOnlySpan<long> numbers)
    {
        nint list;
        Check(NewList((nuint)numbers.Length, &list), "torch_new_list_reserve_size");
        foreach (long number in numbers)
        {
            Check(Push(list, (ulong)number), "torch_list_push_back");
        }

        return (ulong)list;
    }

    public static ulong Of(double value) => BitConverter.DoubleToUInt64Bits(value);

    public static ulong Of(bool value) => value ? 1UL : 0;

    public static ulong OfOptional(Tensor? tensor)
    {
        if (tensor is null)
        {
            return 0;
        }

        return Boxed(Of(tensor));
    }

    public static ulong Of(long value) => (ulong)value;

    /// <summary>An optional integer, or any optional value whose word is its number (an element type, for example).</summary>
    public static ulong OfOptional(long? value) => value is { } number ? Boxed((ulong)number) : 0;

    /// <summary>Calls an operator without overload name; results replace the arguments from the first on.</summary>
    /// <param name="name">Name with its terminating zero, as a u8 literal has it.</param>
    /// <param name="stack">The arguments.</param>
    /// <exception cref="InvalidOperationException">The operator failed; libtorch wrote the reason to stderr.</exception>
    public static void Call(ReadOnlySpan<byte> name, Span<ulong> stack)
    {
        fixed (byte* n = name)
        fixed (byte* o = "\0"u8)
        fixed (ulong* s = stack)
        {
            if (CallOperator(n, o, s, AbiVersion) != 0)
            {
                throw new InvalidOperationException(
                    $"{Encoding.ASCII.GetString(name)} failed; libtorch wrote the reason to stderr");
            }
        }
    }

    /// <summary>Takes a returned tensor; the caller disposes it.</summary>
    public static Tensor Take(ulong result) => Tensor.UnsafeCreateTensor((nint)result);

    // Marks a word as the value of an optional argument.
    private static ulong Boxed(ulong word)
    {
        var box = (ulong*)CppNew(sizeof(ulong));
        *box = word;
        return (ulong)box;
    }

    private static void Check(int status, string function)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{function} failed; libtorch wrote the reason to stderr");
        }
    }
}
