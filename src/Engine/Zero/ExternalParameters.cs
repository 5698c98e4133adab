using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Parameters that modules use and others own. Forgotten with the module.</summary>
internal static class ExternalParameters
{
    private static readonly ConditionalWeakTable<nn.Module, List<TorchSharp.Modules.Parameter>> Known = [];

    /// <summary>Adds one.</summary>
    public static void Add(nn.Module module, TorchSharp.Modules.Parameter parameter)
    {
        List<TorchSharp.Modules.Parameter> list = Known.GetOrCreateValue(module);
        if (!list.Contains(parameter))
        {
            list.Add(parameter);
        }
    }

    /// <summary>Those of a module.</summary>
    public static IReadOnlyList<TorchSharp.Modules.Parameter> Of(nn.Module module) =>
        Known.TryGetValue(module, out List<TorchSharp.Modules.Parameter>? list) ? list : [];
}
