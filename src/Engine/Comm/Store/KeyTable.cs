using System.Globalization;
using System.Text;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Answers one request.</summary>
internal delegate void Reply(ReplyStatus status, ReadOnlySpan<byte> fields);

/// <summary>The store's keys and who waits for them. Not for several threads.</summary>
internal sealed class KeyTable(long largestTotal = KeyTable.LargestTotal)
{
    /// <summary>Bytes of all keys and values.</summary>
    public const long LargestTotal = 256 << 20;

    /// <summary>Bytes of a key.</summary>
    public const int LongestKey = 1024;

    // What an entry costs besides its bytes, about.
    private const int Overhead = 128;

    private readonly Dictionary<string, byte[]> _values = [];
    private readonly List<Waiter> _waiters = [];
    private long _bytes;

    /// <summary>Sets a value and answers those who waited for it.</summary>
    public void Set(string key, byte[] value, Reply reply)
    {
        if (TryPut(key, value, reply))
        {
            reply(ReplyStatus.Done, []);
        }
    }

    /// <summary>Answers with the values as soon as all are there.</summary>
    /// <param name="keys">Which ones.</param>
    /// <param name="owner">Whose request it is; see <see cref="Forget"/>.</param>
    /// <param name="deadline">When to answer with the names of those that are missing.</param>
    /// <param name="now">On the same clock.</param>
    /// <param name="withValues">False answers with nothing.</param>
    /// <param name="reply">Called once, now or later.</param>
    public void Get(IReadOnlyList<string> keys, object owner, TimeSpan deadline, TimeSpan now, bool withValues, Reply reply)
    {
        var waiter = new Waiter(keys, owner, deadline, withValues, reply);
        if (!Answer(waiter, now))
        {
            _waiters.Add(waiter);
        }
    }

    /// <summary>Adds to a number, which is kept as a decimal text; one that is not there counts as 0.</summary>
    public void Add(string key, long amount, Reply reply)
    {
        long value = 0;
        if (_values.TryGetValue(key, out byte[]? text)
            && !long.TryParse(Encoding.ASCII.GetString(text), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value))
        {
            reply(ReplyStatus.Refused, Encoding.UTF8.GetBytes($"the value of \"{key}\" is not a number"));
            return;
        }

        value = unchecked(value + amount);
        if (TryPut(key, Encoding.ASCII.GetBytes(value.ToString(CultureInfo.InvariantCulture)), reply))
        {
            reply(ReplyStatus.Done, new FieldWriter().Long(value).ToArray());
        }
    }

    /// <summary>Sets a value if it is the expected one; nothing is expected of a key that is not there.</summary>
    public void CompareSet(string key, byte[] expected, byte[] desired, Reply reply)
    {
        byte[] current = _values.GetValueOrDefault(key, []);
        if (!current.AsSpan().SequenceEqual(expected))
        {
            reply(ReplyStatus.Done, current);
        }
        else if (TryPut(key, desired, reply))
        {
            reply(ReplyStatus.Done, desired);
        }
    }

    /// <summary>Removes a value; answers with 1 when there was one, else 0.</summary>
    public void Delete(string key, Reply reply)
    {
        bool existed = _values.Remove(key, out byte[]? value);
        _bytes -= existed ? Cost(key, value!) : 0;
        reply(ReplyStatus.Done, [existed ? (byte)1 : (byte)0]);
    }

    /// <summary>Answers those whose time has come.</summary>
    public void Expire(TimeSpan now) => _waiters.RemoveAll(waiter => Answer(waiter, now));

    /// <summary>Drops the requests of somebody who is gone.</summary>
    public void Forget(object owner) => _waiters.RemoveAll(waiter => waiter.Owner == owner);

    private bool TryPut(string key, byte[] value, Reply reply)
    {
        long freed = _values.TryGetValue(key, out byte[]? earlier) ? Cost(key, earlier) : 0;
        long total = _bytes - freed + Cost(key, value);
        if (key.Length > LongestKey || total > largestTotal)
        {
            reply(ReplyStatus.Refused, Encoding.UTF8.GetBytes(key.Length > LongestKey
                ? $"a key of {key.Length} characters, where {LongestKey} are the most"
                : $"\"{key}\" of {value.Length} bytes would make {total} bytes in all, where {largestTotal} are the most; delete keys that are no longer needed"));
            return false;
        }

        (_values[key], _bytes) = (value, total);
        _waiters.RemoveAll(waiter => waiter.Keys.Contains(key) && Answer(waiter, TimeSpan.MinValue));
        return true;
    }

    // Whether the waiter was answered.
    private bool Answer(Waiter waiter, TimeSpan now)
    {
        string[] missing = [.. waiter.Keys.Where(key => !_values.ContainsKey(key))];
        if (missing.Length == 0)
        {
            // A waiter asks for one value, or for none: the sum of several could be longer than a frame.
            waiter.Reply(ReplyStatus.Done, waiter.WithValues ? _values[waiter.Keys[0]] : []);
            return true;
        }

        if (now >= waiter.Deadline)
        {
            waiter.Reply(ReplyStatus.TimedOut, new FieldWriter().List(missing, (fields, key) => fields.Text(key)).ToArray());
            return true;
        }

        return false;
    }

    private static long Cost(string key, byte[] value) => Overhead + 2L * key.Length + value.Length;

    private sealed record Waiter(IReadOnlyList<string> Keys, object Owner, TimeSpan Deadline, bool WithValues, Reply Reply);
}
