using System.Runtime.CompilerServices;
using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Tests;

internal static class Startup
{
    // A test may touch a tensor before anything of the engine; the engine's repair of the native bridge must come first.
#pragma warning disable CA2255
    [ModuleInitializer]
    internal static void LoadTorch() => TorchRuntime.Load();
#pragma warning restore CA2255
}
