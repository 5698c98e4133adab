using System.Buffers;
using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>What TorchSharp does not offer on tensors: replacing their data, and their memory as bytes.</summary>
internal static unsafe partial class TensorMemory
{
    /// <summary>Makes a tensor show other data (<c>param.data = x</c>), keeping its identity, hooks and autograd role.</summary>
    /// <param name="tensor">The tensor to change, usually a parameter.</param>
    /// <param name="data">What it shows from now on; may be a view of a larger buffer.</param>
    public static void SetData(Tensor tensor, Tensor data)
    {
        Span<ulong> stack = [Dispatcher.Of(tensor), Dispatcher.Of(data)];
        Dispatcher.Call("aten::set_data"u8, stack);
    }

    /// <summary>How often the values of a tensor's memory were changed in place; all views of it share the count.</summary>
    public static long Version(Tensor tensor)
    {
        Span<ulong> stack = [Dispatcher.Of(tensor)];
        Dispatcher.Call("aten::_version"u8, stack);
        return (long)stack[0];
    }

    /// <summary>The bytes of a contiguous CPU tensor; valid while the tensor lives.</summary>
    /// <exception cref="ArgumentException">The tensor is not contiguous or not on the CPU.</exception>
    public static Memory<byte> Bytes(Tensor tensor)
    {
        if (tensor.device_type != DeviceType.CPU || !tensor.is_contiguous())
        {
            throw new ArgumentException("only a contiguous CPU tensor can be seen as bytes", nameof(tensor));
        }

        long bytes = tensor.numel() * tensor.element_size();
        if (bytes > int.MaxValue)
        {
            throw new ArgumentException($"{bytes} bytes are more than one memory block holds; pass a narrower view", nameof(tensor));
        }

        return new NativeBlock((byte*)THSTensor_data(tensor.Handle), (int)bytes).Memory;
    }

    /// <summary>What all handles of one tensor have in common, for as long as it lives.</summary>
    public static nint Identity(Tensor tensor) => *(nint*)tensor.Handle;

    /// <summary>Where the first element of a tensor is.</summary>
    public static nint Address(Tensor tensor) => THSTensor_data(tensor.Handle);

    /// <summary>Where the first element of a leaf's gradient is; zero when it has none. Without garbage, unlike
    /// <c>Tensor.grad</c>: every backward asks for every parameter.</summary>
    public static nint GradientAddress(Tensor leaf)
    {
        nint gradient = THSTensor_grad(leaf.Handle);
        if (gradient == 0)
        {
            return 0;
        }

        nint address = THSTensor_data(gradient);
        THSTensor_dispose(gradient);
        return address;
    }

    // The data pointer honours the view's offset, unlike the storage's.
    [LibraryImport("LibTorchSharp")]
    private static partial nint THSTensor_data(nint handle);

    [LibraryImport("LibTorchSharp")]
    private static partial nint THSTensor_grad(nint handle);

    [LibraryImport("LibTorchSharp")]
    private static partial void THSTensor_dispose(nint handle);

    // Memory that libtorch owns, as managed code and sockets want it. Does not keep the tensor alive.
    private sealed class NativeBlock(byte* start, int length) : MemoryManager<byte>
    {
        public override Span<byte> GetSpan() => new(start, length);

        public override MemoryHandle Pin(int elementIndex = 0) => new(start + elementIndex);

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
