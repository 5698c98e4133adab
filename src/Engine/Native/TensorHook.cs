using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Calls back when the gradient of any tensor, not only of a parameter, arrives during backward.</summary>
/// <remarks>
/// libtorch exports <c>at::TensorBase::_register_hook</c>, which takes a <c>std::function</c>: with libstdc++ two words
/// of storage, a manager and an invoker. Tensors travel as one word, a counted reference. The hook belongs to the
/// autograd graph and is freed with it, on whatever thread lets go of the graph last. On the CPU the callback runs on
/// the thread that called backward, for a GPU on a thread of libtorch's, which has no dispose scope.
/// </remarks>
internal static unsafe class TensorHook
{
    private const int GetFunctor = 1;
    private const int Clone = 2;
    private const int Destroy = 3;

    private static readonly delegate* unmanaged<nint, StdFunction*, uint> RegisterHook =
        (delegate* unmanaged<nint, StdFunction*, uint>)Symbols.OfTorch(
            "_ZNK2at10TensorBase14_register_hookESt8functionIFS0_RKS0_EE");

    private static readonly delegate* unmanaged<nint, nint*, int> NewTensorHandle =
        (delegate* unmanaged<nint, nint*, int>)Symbols.OfTorch("aoti_torch_new_tensor_handle");

    private static readonly delegate* unmanaged<nint, int> DeleteTensorHandle =
        (delegate* unmanaged<nint, int>)Symbols.OfTorch("aoti_torch_delete_tensor_object");

    private static readonly delegate* unmanaged<byte> CurrentBackwardKeepsGraph =
        (delegate* unmanaged<byte>)Symbols.OfTorch("_ZN5torch8autograd33get_current_graph_task_keep_graphEv");

    // The tensor that is none; returning it from a hook leaves the gradient as it is.
    private static readonly nint Undefined = NativeLibrary.GetExport(
        NativeLibrary.Load("c10", typeof(torch).Assembly, null), "_ZN3c1019UndefinedTensorImpl10_singletonE");

    /// <summary>Inside a hook: whether the running backward was called with <c>retain_graph</c>.</summary>
    public static bool KeepsGraph => CurrentBackwardKeepsGraph() != 0;

    /// <summary>Adds a hook to a tensor that requires a gradient.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="onGradient">Gets the gradient, which is disposed afterwards, and gives another of the same shape
    /// to go on with, which libtorch then owns, or null. Must not throw.</param>
    /// <param name="onFreed">Called once when the graph has let go of the hook. Must not throw.</param>
    public static void Register(Tensor tensor, Func<Tensor, Tensor?> onGradient, Action? onFreed = null)
    {
        var callback = new Callback(onGradient, onFreed);
        var function = new StdFunction
        {
            Data = callback.NewHandle(),
            Manager = (nint)(delegate* unmanaged<nint*, nint*, int, byte>)&Manage,
            Invoker = (nint)(delegate* unmanaged<nint*, nint*, nint*, nint*>)&Invoke,
        };
        nint handle = function.Data;
        RegisterHook(tensor.Handle, &function);

        // libtorch moved the function out, and then its manager is null; else it is still ours to destroy.
        if (function.Manager != 0)
        {
            Callback.Free(handle);
        }
    }

    [UnmanagedCallersOnly]
    private static byte Manage(nint* target, nint* source, int operation)
    {
        switch (operation)
        {
            case GetFunctor:
                *target = (nint)source;
                break;
            case Clone:
                *target = Callback.Of(*source).NewHandle();
                break;
            case Destroy:
                Callback.Free(*target);
                break;
            default:
                *target = 0; // run-time type information, which nobody asks for
                break;
        }

        return 0;
    }

    [UnmanagedCallersOnly]
    private static nint* Invoke(nint* result, nint* functor, nint* gradient)
    {
        *result = Undefined;
        if (*gradient == Undefined)
        {
            return result;
        }

        try
        {
            nint copy;
            if (NewTensorHandle((nint)gradient, &copy) != 0)
            {
                throw new InvalidOperationException("aoti_torch_new_tensor_handle failed");
            }

            using Tensor seen = Tensor.UnsafeCreateTensor(copy);
            using Tensor? replacement = Callback.Of(*functor).OnGradient(seen);
            if (replacement is not null)
            {
                *result = NewReference(replacement);
            }
        }
        catch (Exception e)
        {
            // An exception cannot cross libtorch's frames; the callback has to keep its own errors.
            Environment.FailFast("a tensor hook threw", e);
        }

        return result;
    }

    // A tensor handle is a pointer to a counted reference: copy it, take the reference out, delete the empty handle.
    private static nint NewReference(Tensor tensor)
    {
        nint handle;
        if (NewTensorHandle(tensor.Handle, &handle) != 0)
        {
            throw new InvalidOperationException("aoti_torch_new_tensor_handle failed");
        }

        nint reference = *(nint*)handle;
        *(nint*)handle = Undefined;
        _ = DeleteTensorHandle(handle);
        return reference;
    }

    private struct StdFunction
    {
        public nint Data;
        public nint Unused;
        public nint Manager;
        public nint Invoker;
    }

    // Native copies of the function each hold a handle; the last one to go frees the callback.
    private sealed class Callback(Func<Tensor, Tensor?> onGradient, Action? onFreed)
    {
        private int _copies;

        public Func<Tensor, Tensor?> OnGradient => onGradient;

        public static Callback Of(nint handle) => (Callback)GCHandle.FromIntPtr(handle).Target!;

        public static void Free(nint handle)
        {
            var gcHandle = GCHandle.FromIntPtr(handle);
            var callback = (Callback)gcHandle.Target!;
            gcHandle.Free();
            if (Interlocked.Decrement(ref callback._copies) == 0)
            {
                callback.Freed();
            }
        }

        public nint NewHandle()
        {
            Interlocked.Increment(ref _copies);
            return GCHandle.ToIntPtr(GCHandle.Alloc(this));
        }

        private void Freed()
        {
            try
            {
                onFreed?.Invoke();
            }
            catch (Exception e)
            {
                Environment.FailFast("freeing a tensor hook threw", e);
            }
        }
    }
}
