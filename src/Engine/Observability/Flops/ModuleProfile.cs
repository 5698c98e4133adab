using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>A module of the profiled model, with what one forward pass cost.</summary>
internal sealed class ModuleProfile
{
    private readonly List<ModuleProfile> _children = [];
    private TimeSpan _ownLatency;

    /// <summary>Name in its parent; the type for the root.</summary>
    public required string Name { get; init; }

    /// <summary>The module's class.</summary>
    public required string Type { get; init; }

    /// <summary>0 for the root.</summary>
    public required int Depth { get; init; }

    /// <summary>Parameters of this module itself; one that several modules share belongs to the first.</summary>
    public required long OwnParameters { get; init; }

    /// <summary>Calls seen.</summary>
    public int Calls { get; private set; }

    /// <summary>Work of this module itself; null as long as no call was understood.</summary>
    public FlopCount? OwnWork { get; private set; }

    public IReadOnlyList<ModuleProfile> Children => _children;

    public long Parameters => OwnParameters + Children.Sum(c => c.Parameters);

    public FlopCount Work => Children.Aggregate(OwnWork ?? FlopCount.Zero, (sum, child) => sum + child.Work);

    /// <summary>Time in calls of this module; of its children where it is never called itself.</summary>
    public TimeSpan Latency => Calls > 0 ? _ownLatency : Children.Aggregate(TimeSpan.Zero, (sum, c) => sum + c.Latency);

    /// <summary>Whether this module does work that has no rule: it was called, and nothing tells what it computes.</summary>
    public bool IsUncounted => Calls > 0 && OwnWork is null && (OwnParameters > 0 || Children.Count == 0);

    /// <summary>This module and all below it, parents first.</summary>
    public IEnumerable<ModuleProfile> All() => Children.SelectMany(c => c.All()).Prepend(this);

    public void Called(FlopCount? work, TimeSpan latency)
    {
        Calls++;
        _ownLatency += latency;
        OwnWork = work is { } w ? (OwnWork ?? FlopCount.Zero) + w : OwnWork;
    }

    /// <summary>The tree of a model. A module that several parents share appears under the first.</summary>
    /// <param name="root">The model.</param>
    /// <param name="visit">Sees each module with its place in the tree.</param>
    public static ModuleProfile Of(nn.Module root, Action<nn.Module, ModuleProfile> visit)
    {
        var modules = new HashSet<nn.Module>(ReferenceEqualityComparer.Instance);
        var parameters = new HashSet<nint>();
        return Build(root, root.GetName(), 0)!;

        ModuleProfile? Build(nn.Module module, string name, int depth)
        {
            if (!modules.Add(module))
            {
                return null;
            }

            // A native layer with parts inside, such as an LSTM, has no children here: all its parameters are its own.
            var own = module.named_children().Any() ? module.parameters(recurse: false) : module.parameters();
            var profile = new ModuleProfile
            {
                Name = name,
                Type = TypeName(module.GetType()),
                Depth = depth,
                OwnParameters = own.Where(p => parameters.Add(p.Handle)).Sum(p => p.numel()),
            };
            visit(module, profile);
            foreach ((string childName, nn.Module child) in module.named_children())
            {
                if (Build(child, childName, depth + 1) is { } built)
                {
                    profile._children.Add(built);
                }
            }

            return profile;
        }
    }

    private static string TypeName(Type type) => type.Name.Split('`')[0];
}
