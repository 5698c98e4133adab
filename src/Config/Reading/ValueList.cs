using System.Collections;

namespace DeepSpeedSharp.Config;

/// <summary>A short immutable list that compares by its values, so that records holding one compare by value too.</summary>
internal sealed class ValueList<T>(IEnumerable<T> values) : IReadOnlyList<T>, IEquatable<ValueList<T>>
{
    private readonly T[] _values = [.. values];

    public int Count => _values.Length;

    public T this[int index] => _values[index];

    public bool Equals(ValueList<T>? other) => other is not null && _values.AsSpan().SequenceEqual(other._values);

    public override bool Equals(object? obj) => Equals(obj as ValueList<T>);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (T value in _values)
        {
            hash.Add(value);
        }

        return hash.ToHashCode();
    }

    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)_values).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>Makes lists that compare by value.</summary>
internal static class ValueList
{
    public static IReadOnlyList<T> Of<T>(params IEnumerable<T> values) => new ValueList<T>(values);
}
