using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Finds exported functions of libtorch by name.</summary>
internal static class Symbols
{
    private static readonly nint Torch = NativeLibrary.Load("torch_cpu", typeof(torch).Assembly, null);
    private static readonly nint CppRuntime = NativeLibrary.Load("libstdc++.so.6");

    /// <summary>Address of a function of libtorch_cpu.</summary>
    /// <exception cref="EntryPointNotFoundException">This libtorch does not have it.</exception>
    public static nint OfTorch(string name) => NativeLibrary.GetExport(Torch, name);

    /// <summary>Address of a function of the C++ runtime.</summary>
    public static nint OfCppRuntime(string name) => NativeLibrary.GetExport(CppRuntime, name);
}
