namespace DeepSpeedSharp.Engine.Zero;

/// <summary>The order in which one forward and backward uses the units of a model, as the last one did. Arithmetic only.</summary>
/// <remarks>The first pass records; a later one that keeps to the record can look ahead. One that does not is recorded
/// instead. Nothing here depends on time or on how far communication is, so that all ranks decide alike.</remarks>
/// <param name="elements">Elements of each unit.</param>
/// <param name="slotsOf">Parameters of each unit.</param>
/// <param name="slots">Number of parameters.</param>
internal sealed class UseTrace(IReadOnlyList<long> elements, IReadOnlyList<IReadOnlyList<int>> slotsOf, int slots)
{
    // A training loop that never calls backward would record for ever.
    private const int Longest = 1 << 20;

    private readonly List<int> _recording = [];
    private int[] _order = [];
    private long[] _before = [0]; // elements of all uses before each
    private List<int>[] _usesOf = [];
    private int _cursor;

    /// <summary>Whether this pass is the recorded one so far.</summary>
    public bool IsOn { get; private set; }

    /// <summary>Whether the last pass that ended was not the recorded one, though there was one.</summary>
    public bool HasChanged { get; private set; }

    /// <summary>The uses that are to come.</summary>
    public ReadOnlySpan<int> Ahead => IsOn ? _order.AsSpan(_cursor) : [];

    /// <summary>Notes a use.</summary>
    /// <param name="unit">The unit.</param>
    /// <param name="isOutermost">Whether no other unit is in use: a pass may begin here.</param>
    public void Use(int unit, bool isOutermost)
    {
        if (IsOn && _cursor < _order.Length && _order[_cursor] == unit)
        {
            _cursor++;
        }
        else if (isOutermost && _order.Length > 0 && _order[0] == unit)
        {
            // A forward without a backward came before.
            (_cursor, IsOn) = (1, true);
            _recording.Clear();
        }
        else
        {
            IsOn = false;
        }

        if (_recording.Count == Longest)
        {
            _recording.Clear();
        }

        _recording.Add(unit);
    }

    /// <summary>Ends a pass.</summary>
    public void End()
    {
        bool isSame = IsOn && _cursor == _order.Length;
        HasChanged = !isSame && _order.Length > 0 && _recording.Count > 0;
        if (!isSame && _recording.Count > 0)
        {
            Keep();
        }

        _recording.Clear();
        (_cursor, IsOn) = (0, _order.Length > 0);
    }

    /// <summary>Forgets what this pass has done so far.</summary>
    public void Abandon()
    {
        _recording.Clear();
        (_cursor, IsOn) = (0, _order.Length > 0);
    }

    /// <summary>Elements that are used before a parameter is used again in this pass; <see cref="long.MaxValue"/> when it is
    /// not, or nobody knows.</summary>
    /// <param name="slot">The parameter.</param>
    public long ElementsUntil(int slot)
    {
        if (!IsOn)
        {
            return long.MaxValue;
        }

        List<int> uses = _usesOf[slot];
        int next = uses.BinarySearch(_cursor);
        next = next < 0 ? ~next : next;
        return next == uses.Count ? long.MaxValue : _before[uses[next]] - _before[_cursor];
    }

    private void Keep()
    {
        _order = [.. _recording];
        _before = new long[_order.Length + 1];
        _usesOf = [.. Enumerable.Range(0, slots).Select(_ => new List<int>())];
        for (int i = 0; i < _order.Length; i++)
        {
            _before[i + 1] = _before[i] + elements[_order[i]];
            foreach (int slot in slotsOf[_order[i]])
            {
                _usesOf[slot].Add(i);
            }
        }
    }
}
