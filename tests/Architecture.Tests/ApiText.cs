using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace DeepSpeedSharp.Architecture.Tests;

/// <summary>Writes the public types and members of an assembly, one a line, in a fixed order.</summary>
/// <remarks>Every line names its type, so that a line of a diff explains itself. What the compiler adds to records is
/// left out: it follows from their being records.</remarks>
internal static class ApiText
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<Type, string> Keywords = new()
    {
        [typeof(void)] = "void",
        [typeof(object)] = "object",
        [typeof(string)] = "string",
        [typeof(bool)] = "bool",
        [typeof(int)] = "int",
        [typeof(long)] = "long",
        [typeof(float)] = "float",
        [typeof(double)] = "double",
        [typeof(byte)] = "byte",
    };

    public static string Of(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            string name = type.FullName!.Replace('+', '.');
            text.Append(TypeLine(type, name)).Append('\n');
            foreach (string member in MembersOf(type).Order(StringComparer.Ordinal))
            {
                text.Append("  ").Append(name).Append(": ").Append(member).Append('\n');
            }
        }

        return text.ToString();
    }

    private static string TypeLine(Type type, string name)
    {
        string kind = type.IsInterface ? "interface" : type.IsEnum ? "enum" : IsDelegate(type) ? "delegate"
            : type.IsValueType ? IsRecord(type) ? "record struct" : "struct" : IsRecord(type) ? "record" : "class";
        string modifier = !type.IsClass || IsDelegate(type) ? "" : type.IsAbstract && type.IsSealed ? "static "
            : type.IsAbstract ? "abstract " : type.IsSealed ? "sealed " : "";
        IEnumerable<Type> bases = type.IsEnum || IsDelegate(type) ? [] : new[] { type.BaseType }.OfType<Type>()
            .Where(b => b != typeof(object) && b != typeof(ValueType))
            .Concat(type.GetInterfaces().Except(type.BaseType?.GetInterfaces() ?? [])
                .Where(i => i.IsPublic && !i.Name.StartsWith("IEquatable", StringComparison.Ordinal)));
        string[] names = [.. bases.Select(b => TypeName(b))];
        return $"{modifier}{kind} {name}{(names.Length == 0 ? "" : " : " + string.Join(", ", names))}";
    }

    private static IEnumerable<string> MembersOf(Type type)
    {
        if (type.IsEnum)
        {
            return Enum.GetNames(type).Select(name =>
                string.Create(CultureInfo.InvariantCulture, $"{name} = {Convert.ToInt64(Enum.Parse(type, name), CultureInfo.InvariantCulture)}"));
        }

        if (IsDelegate(type))
        {
            return [Signature(type.GetMethod("Invoke")!)];
        }

        return
        [
            .. type.GetConstructors(Declared).Where(IsVisible).Where(c => !IsGenerated(c))
                .Select(c => $"{Access(c)}new({Parameters(c)})"),
            .. type.GetProperties(Declared).Where(p => p.GetAccessors(true).Any(IsVisible) && !IsGenerated(p) && p.Name != "EqualityContract")
                .Select(Property),
            .. type.GetEvents(Declared).Where(e => IsVisible(e.AddMethod!)).Select(e => $"event {TypeName(e.EventHandlerType!)} {e.Name}"),
            .. type.GetFields(Declared).Where(f => f.IsPublic || f.IsFamily).Select(Field),
            .. type.GetMethods(Declared).Where(m => IsVisible(m) && !IsGenerated(m)
                && (!m.IsSpecialName || m.Name.StartsWith("op_", StringComparison.Ordinal))).Select(m => $"{Access(m)}{Signature(m)}"),
        ];
    }

    private static string Property(PropertyInfo property)
    {
        NullabilityInfo nullability = new NullabilityInfoContext().Create(property);
        MethodInfo[] accessors = [.. property.GetAccessors(true).Where(IsVisible)];
        bool isInit = property.SetMethod?.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) ?? false;
        IEnumerable<string> parts = accessors.OrderBy(a => a != property.GetMethod).Select(accessor =>
            $"{(accessor.IsPublic ? "" : Access(accessor))}{(accessor == property.GetMethod ? "get" : isInit ? "init" : "set")}; ");
        bool isRequired = property.IsDefined(typeof(RequiredMemberAttribute));
        string index = property.GetIndexParameters() is { Length: > 0 } indices ? $"[{string.Join(", ", indices.Select(Parameter))}]" : "";
        return $"{Access(accessors[0])}{(isRequired ? "required " : "")}{TypeName(property.PropertyType, nullability)} "
            + $"{property.Name}{index} {{ {string.Concat(parts)}}}";
    }

    private static string Field(FieldInfo field)
    {
        string type = TypeName(field.FieldType, new NullabilityInfoContext().Create(field));
        return field.IsLiteral ? $"const {type} {field.Name} = {Literal(field.GetRawConstantValue())}"
            : $"{(field.IsStatic ? "static " : "")}{(field.IsInitOnly ? "readonly " : "")}{type} {field.Name}";
    }

    private static string Signature(MethodInfo method)
    {
        string generic = method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(a => a.Name))}>" : "";
        string type = TypeName(method.ReturnType, new NullabilityInfoContext().Create(method.ReturnParameter),
            method.ReturnParameter.GetCustomAttribute<TupleElementNamesAttribute>()?.TransformNames);
        return $"{type} {method.Name}{generic}({Parameters(method)})";
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        string prefix = parameter.IsOut ? "out " : parameter.IsIn ? "in " : parameter.ParameterType.IsByRef ? "ref "
            : parameter.IsDefined(typeof(ParamArrayAttribute)) || parameter.IsDefined(typeof(ParamCollectionAttribute)) ? "params " : "";
        Type type = parameter.ParameterType.IsByRef ? parameter.ParameterType.GetElementType()! : parameter.ParameterType;
        string value = parameter.HasDefaultValue ? $" = {Literal(parameter.RawDefaultValue)}" : "";
        return $"{prefix}{TypeName(type, new NullabilityInfoContext().Create(parameter))} {parameter.Name}{value}";
    }

    private static string Access(MethodBase method)
    {
        string access = method.IsFamily || method.IsFamilyOrAssembly ? "protected " : "";
        string kind = method.IsStatic ? "static " : method.DeclaringType!.IsInterface || !method.IsVirtual || method.IsFinal ? ""
            : method.IsAbstract ? "abstract " : ((MethodInfo)method).GetBaseDefinition() != method ? "override " : "virtual ";
        return access + kind;
    }

    // The names of tuple elements are given for the outermost type only, which is where they are used.
    private static string TypeName(Type type, NullabilityInfo? nullability = null, IList<string?>? names = null)
    {
        string mark = !type.IsValueType && !type.IsGenericParameter && nullability?.ReadState == NullabilityState.Nullable ? "?" : "";
        if (Nullable.GetUnderlyingType(type) is { } underlying)
        {
            return TypeName(underlying) + "?";
        }

        if (type.IsArray)
        {
            return $"{TypeName(type.GetElementType()!, nullability?.ElementType)}[]{mark}";
        }

        if (!type.IsGenericType)
        {
            return Keywords.GetValueOrDefault(type, type.Name) + mark;
        }

        NullabilityInfo[]? inner = nullability?.GenericTypeArguments;
        string[] arguments = [.. type.GetGenericArguments().Select((argument, i) =>
            TypeName(argument, inner?.ElementAtOrDefault(i)) + (names?[i] is { } name ? $" {name}" : ""))];
        return type.Name.StartsWith("ValueTuple`", StringComparison.Ordinal) ? $"({string.Join(", ", arguments)}){mark}"
            : $"{type.Name.Split('`')[0]}<{string.Join(", ", arguments)}>{mark}";
    }

    private static string Literal(object? value) => value switch
    {
        null => "null",
        string text => $"\"{text}\"",
        bool flag => flag ? "true" : "false",
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    private static bool IsVisible(MethodBase method) =>
        (method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly) && !(method.DeclaringType!.IsSealed && method.IsFamily);

    // Accessors of properties are generated too, but are not listed as methods.
    private static bool IsGenerated(MemberInfo member) => member.IsDefined(typeof(CompilerGeneratedAttribute));

    private static bool IsDelegate(Type type) => type.IsSubclassOf(typeof(Delegate));

    private static bool IsRecord(Type type) => type.GetMethod("PrintMembers", Declared) is not null;
}
