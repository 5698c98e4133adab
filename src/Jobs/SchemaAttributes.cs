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

/// <summary>The words a text may be, in the CRD's schema.</summary>
/// <param name="values">All words.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class OneOfAttribute(params string[] values) : Attribute
{
    /// <summary>All words.</summary>
    public IReadOnlyList<string> Values { get; } = values;

    /// <summary>Words of the API that this release does not build: part of the schema, refused by name.</summary>
    public string[] NotYet { get; init; } = [];
}

/// <summary>What the server writes when the field is left out, in the CRD's schema.</summary>
/// <param name="value">The value; the same that the code assumes.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class DefaultAttribute(object value) : Attribute
{
    /// <summary>The value.</summary>
    public object Value { get; } = value;
}

/// <summary>Largest length of a text in the CRD's schema.</summary>
/// <param name="length">Number of characters.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class MaxLengthAttribute(int length) : Attribute
{
    /// <summary>Number of characters.</summary>
    public int Length { get; } = length;
}

/// <summary>What a text looks like, in the CRD's schema. The validation in code has the same rule.</summary>
/// <param name="expression">A regular expression, from the start to the end of the text.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class PatternAttribute(string expression) : Attribute
{
    /// <summary>A regular expression.</summary>
    public string Expression { get; } = expression;
}

/// <summary>Largest length of each text of a list in the CRD's schema.</summary>
/// <param name="length">Number of characters.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class MaxItemLengthAttribute(int length) : Attribute
{
    /// <summary>Number of characters.</summary>
    public int Length { get; } = length;
}

/// <summary>A rule over several fields in the CRD's schema, for servers that know CEL (Kubernetes 1.25 and later). The
/// validation in code has the same rule, for all servers.</summary>
/// <param name="expression">The rule in CEL.</param>
/// <param name="message">What the server says when it is broken.</param>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
public sealed class RuleAttribute(string expression, string message) : Attribute
{
    /// <summary>The rule in CEL.</summary>
    public string Expression { get; } = expression;

    /// <summary>What the server says when it is broken.</summary>
    public string Message { get; } = message;
}
