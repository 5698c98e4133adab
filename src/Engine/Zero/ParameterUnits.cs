using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Parameters that are gathered together, when a module is called.</summary>
/// <param name="Name">The module's name in the model.</param>
/// <param name="Module">The module.</param>
/// <param name="Slots">The parameters: its own, or of everything in it.</param>
internal sealed record ParameterUnit(string Name, nn.Module Module, IReadOnlyList<int> Slots);

/// <summary>Decides which parameters are gathered for which module. Every call of a module gathers what it registers
/// itself; a leaf module gathers all that is inside.</summary>
internal static class ParameterUnits
{
    // A leaf that is larger would be gathered whole. DeepSpeed's Z3_MAX_LEAF_SIZE.
    private const long LargestLeaf = 1_000_000_000;

    // Name, children, own parameters; parameters and layers inside, itself included.
    private sealed record Node(string Name, nn.Module Module, List<Node> Children, List<int> Own)
    {
        public IEnumerable<int> All => Own.Concat(Children.SelectMany(child => child.All));
    }

    /// <summary>The units of a model, in the model's order.</summary>
    /// <param name="model">The model.</param>
    /// <param name="slotOf">The slot of a parameter; null when it is not partitioned.</param>
    /// <param name="elements">Elements of each slot.</param>
    /// <param name="config">Which modules are leaves.</param>
    /// <exception cref="ArgumentException">The config names a leaf that the model does not have.</exception>
    public static IReadOnlyList<ParameterUnit> Of(
        nn.Module model, Func<TorchSharp.Modules.Parameter, int?> slotOf, IReadOnlyList<long> elements, ZeroStage3Config config)
    {
        Node root = Tree("", model, slotOf);
        CheckLeaves(root, config.LeafModule);
        var units = new List<ParameterUnit>();
        Collect(root, elements, config, units);
        return units;
    }

    private static Node Tree(string name, nn.Module module, Func<TorchSharp.Modules.Parameter, int?> slotOf) => new(name, module,
        [.. module.named_children().Select(child => Tree(name.Length == 0 ? child.name : $"{name}.{child.name}", child.module, slotOf))],
        [.. module.named_parameters(recurse: false).Select(p => p.parameter).Concat(ExternalParameters.Of(module))
            .Select(slotOf).OfType<int>().Distinct()]);

    private static void Collect(Node node, IReadOnlyList<long> elements, ZeroStage3Config config, List<ParameterUnit> units)
    {
        bool isLeaf = IsLeaf(node, config.LeafModule) || IsFine(node, elements, config.ModuleGranularityThreshold);
        int[] slots = [.. (isLeaf ? node.All : node.Own).Distinct()];
        if (slots.Length > 0)
        {
            units.Add(new ParameterUnit(node.Name.Length == 0 ? node.Module.GetType().Name : node.Name, node.Module, slots));
        }

        foreach (Node child in isLeaf ? [] : node.Children)
        {
            Collect(child, elements, config, units);
        }
    }

    private static bool IsLeaf(Node node, ZeroLeafModuleConfig? leaves) => leaves is not null
        && (leaves.Classes.Contains(node.Module.GetType().Name) || leaves.Names.Contains(node.Name)
            || leaves.NameSuffixes.Any(suffix => node.Name.EndsWith(suffix, StringComparison.Ordinal)));

    // As in DeepSpeed: few parameters for each layer inside. Containers are not called themselves.
    private static bool IsFine(Node node, IReadOnlyList<long> elements, long threshold)
    {
        if (threshold == 0 || node.Children.Count == 0 || !ModuleHooks.CanAttach(node.Module))
        {
            return false;
        }

        long all = node.All.Distinct().Sum(slot => elements[slot]);
        return all > 0 && all <= LargestLeaf && all / Layers(node) < threshold;
    }

    private static int Layers(Node node) => node.All.Any() ? 1 + node.Children.Sum(Layers) : 0;

    private static void CheckLeaves(Node root, ZeroLeafModuleConfig? leaves)
    {
        if (leaves is null)
        {
            return;
        }

        Node[] all = [.. Flatten(root)];
        string[] unknown = [.. leaves.Names.Where(name => all.All(n => n.Name != name)),
            .. leaves.Classes.Where(name => all.All(n => n.Module.GetType().Name != name)),
            .. leaves.NameSuffixes.Where(suffix => all.All(n => !n.Name.EndsWith(suffix, StringComparison.Ordinal)))];
        if (unknown.Length > 0)
        {
            throw new ArgumentException($"zero_optimization.leaf_module: the model has no module {string.Join(", ", unknown)}; "
                + "see named_modules() for the names, or remove it");
        }
    }

    private static IEnumerable<Node> Flatten(Node node) => node.Children.SelectMany(Flatten).Prepend(node);
}
