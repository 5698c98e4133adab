using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>Hooks a module's calls whatever its number and types of arguments.</summary>
/// <remarks>TorchSharp's hooks are typed by arity; the delegate that fits is compiled here.
/// Only <c>call</c> runs hooks: a module whose <c>forward</c> is called directly is not seen.</remarks>
internal sealed class ModuleHooks : IDisposable
{
    private readonly object[] _removers;

    private ModuleHooks(object[] removers) => _removers = removers;

    /// <summary>Calls back around every call of a module.</summary>
    /// <param name="module">The module.</param>
    /// <param name="before">Before its forward.</param>
    /// <param name="after">After it, with arguments and result.</param>
    /// <returns>Removes the hooks when disposed; null for a module that cannot be called, such as a list of modules.</returns>
    public static ModuleHooks? Attach(nn.Module module, Action before, Action<object?[], object?> after)
    {
        if (HookableOf(module) is not { } hookable)
        {
            return null;
        }

        Type postHook = hookable.GetGenericArguments()[1];
        object pre = Register(hookable, module, "register_forward_pre_hook", (Action<nn.Module>)(_ => before()));
        object post = Register(hookable, module, "register_forward_hook", Adapt(postHook, after));
        return new ModuleHooks([pre, post]);
    }

    /// <summary>Whether a module can be called, and so hooked: not a list of modules, for example.</summary>
    public static bool CanAttach(nn.Module module) => HookableOf(module) is not null;

    /// <summary>The tensors in arguments or results, members of tuples and lists included.</summary>
    public static IEnumerable<Tensor> TensorsOf(object? value) => value switch
    {
        Tensor { IsInvalid: false } tensor => [tensor], // an output that was not asked for is a tensor without a handle
        ITuple tuple => Enumerable.Range(0, tuple.Length).SelectMany(i => TensorsOf(tuple[i])),
        IEnumerable<Tensor> list => list.Where(t => !t.IsInvalid),
        System.Collections.IDictionary dictionary => dictionary.Values.Cast<object?>().SelectMany(TensorsOf),
        _ => [],
    };

    public void Dispose()
    {
        foreach (object remover in _removers)
        {
            remover.GetType().GetMethod("remove")!.Invoke(remover, null);
        }
    }

    /// <summary>Shapes of the tensors in arguments or results; members of tuples and lists count one by one.</summary>
    public static IReadOnlyList<IReadOnlyList<long>> ShapesOf(params object?[] values) =>
        [.. values.SelectMany(TensorsOf).Select(tensor => (IReadOnlyList<long>)tensor.shape)];

    private static Type? HookableOf(nn.Module module)
    {
        Type? hookable = module.GetType();
        while (hookable is not null && !(hookable.IsGenericType && hookable.Name == "HookableModule`2"))
        {
            hookable = hookable.BaseType;
        }

        return hookable;
    }

    private static object Register(Type hookable, nn.Module module, string method, Delegate hook) =>
        hookable.GetMethod(method, BindingFlags.Public | BindingFlags.Instance, [hook.GetType()])!.Invoke(module, [hook])!;

    // (module, a, b, ..., result) => { after([a, b, ...], result); return result; }
    private static Delegate Adapt(Type hook, Action<object?[], object?> after)
    {
        ParameterExpression[] parameters = [.. hook.GetMethod("Invoke")!.GetParameters().Select(p => Expression.Parameter(p.ParameterType))];
        ParameterExpression result = parameters[^1];
        Expression arguments = Expression.NewArrayInit(typeof(object),
            parameters[1..^1].Select(p => Expression.Convert(p, typeof(object))));
        Expression callback = Expression.Invoke(Expression.Constant(after), arguments, Expression.Convert(result, typeof(object)));
        Delegate adapter = Expression.Lambda(hook, Expression.Block(callback, result), parameters).Compile();
        RuntimeHelpers.PrepareDelegate(adapter); // or the first call, which is the one that is timed, would compile it
        return adapter;
    }
}
