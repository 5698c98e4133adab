using System.Runtime.CompilerServices;
using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Loads libtorch before any test, so that one that uses TorchSharp alone finds it repaired.</summary>
internal static class LoadTorch
{
#pragma warning disable CA2255 // the tests are an application
    [ModuleInitializer]
    internal static void Load() => TorchRuntime.Load();
#pragma warning restore CA2255
}
