namespace DeepSpeedSharp.Jobs;

/// <summary>Smallest and largest value of a number in the CRD's schema.</summary>
/// <param name="minimum">Smallest allowed value.</param>
/// <param name="maximum">Largest allowed value.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class RangeAttribute(long minimum, long maximum) : Attribute
{
    /// <summary>Smallest allowed value.</summary>
    public long Minimum { get; } = minimum;

    /// <summary>Largest allowed value.</summary>
    public long Maximum { get; } = maximum;
}

/// <summary>Largest number of entries of a list in the CRD's schema.</summary>
/// <param name="count">The number of entries.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class MaxItemsAttribute(int count) : Attribute
{
    /// <summary>The number of entries.</summary>
    public int Count { get; } = count;
}

/// <summary>Makes a list a map in the CRD's schema: entries are told apart by this key.</summary>
/// <param name="key">JSON name of the key.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class ListMapKeyAttribute(string key) : Attribute
{
    /// <summary>JSON name of the key.</summary>
    public string Key { get; } = key;
}

/// <summary>Keeps whatever the user writes below this property, without a schema.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class PreserveUnknownFieldsAttribute : Attribute;

/// <summary>Fields of the API that this release does not build: part of the schema, refused by name.</summary>
/// <param name="names">JSON names of the fields.</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class PlannedFieldsAttribute(params string[] names) : Attribute
{
    /// <summary>JSON names of the fields.</summary>
    public IReadOnlyList<string> Names { get; } = names;
}
