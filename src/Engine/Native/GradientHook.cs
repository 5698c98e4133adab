using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Calls back when the gradient of a parameter has been accumulated, while backward is still running.</summary>
/// <remarks>
/// libtorch exports the function that sets such a hook; the hook object is two words, a table of functions and our
/// context, laid out by the Itanium C++ ABI (so Linux and macOS only). A parameter has one hook; setting another
/// replaces it. On the CPU the callback runs on the thread that called backward.
/// </remarks>
internal static unsafe class GradientHook
{
    private static readonly delegate* unmanaged<nint, nint*, void> Set =
        (delegate* unmanaged<nint, nint*, void>)Symbols.OfTorch(
            "_ZN5torch8autograd4impl23set_post_acc_grad_hooksERKN2at10TensorBaseESt10unique_ptrINS0_22"
            + "PostAccumulateGradHookESt14default_deleteIS7_EE");

    private static readonly nint* FunctionTable = MakeFunctionTable();

    /// <summary>Sets the hook of a leaf tensor.</summary>
    /// <param name="leaf">A parameter.</param>
    /// <param name="callback">Must not throw, and must not refer to the parameter itself: that would keep it alive for ever.</param>
    public static void Register(Tensor leaf, Action callback)
    {
        var hook = (nint*)NativeMemory.Alloc(2, (nuint)sizeof(nint));
        hook[0] = (nint)FunctionTable;
        hook[1] = GCHandle.ToIntPtr(GCHandle.Alloc(callback));
        nint pointer = (nint)hook;
        Set(leaf.Handle, &pointer);
    }

    /// <summary>Removes the hook of a leaf tensor and frees its callback.</summary>
    public static void Clear(Tensor leaf)
    {
        nint none = 0;
        Set(leaf.Handle, &none);
    }

    // {complete destructor, deleting destructor, operator(), compiled_args, apply_with_saved} after two unused words.
    private static nint* MakeFunctionTable()
    {
        var table = (nint*)NativeMemory.AllocZeroed(7, (nuint)sizeof(nint));
        table[2] = (nint)(delegate* unmanaged<nint, void>)&Nothing;
        table[3] = (nint)(delegate* unmanaged<nint, void>)&Delete;
        table[4] = (nint)(delegate* unmanaged<nint, nint, void>)&Invoke;
        table[5] = (nint)(delegate* unmanaged<nint, nint, void>)&Nothing2;
        table[6] = (nint)(delegate* unmanaged<nint, nint, nint, void>)&Nothing3;
        return table + 2;
    }

    [UnmanagedCallersOnly]
    private static void Nothing(nint self)
    {
    }

    [UnmanagedCallersOnly]
    private static void Nothing2(nint self, nint argument)
    {
    }

    [UnmanagedCallersOnly]
    private static void Nothing3(nint self, nint argument, nint other)
    {
    }

    [UnmanagedCallersOnly]
    private static void Delete(nint self)
    {
        GCHandle.FromIntPtr(((nint*)self)[1]).Free();
        NativeMemory.Free((void*)self);
    }

    [UnmanagedCallersOnly]
    private static void Invoke(nint self, nint tensor)
    {
        try
        {
            ((Action)GCHandle.FromIntPtr(((nint*)self)[1]).Target!)();
        }
        catch (Exception e)
        {
            // An exception cannot cross libtorch's frames; the callback has to keep its own errors.
            Environment.FailFast("a gradient hook threw", e);
        }
    }
}
