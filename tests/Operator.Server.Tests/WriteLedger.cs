using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>Which operator wrote what and when, and which of them had the lease then.</summary>
internal sealed class WriteLedger
{
    private readonly Lock _lock = new();
    private readonly List<string> _wrong = [];
    private readonly HashSet<string> _holders = [];
    private string _holder = "";
    private int _writes;

    /// <summary>Writes so far, of leases and events not counted.</summary>
    public int Writes => Volatile.Read(ref _writes);

    /// <summary>The name of the operator that has the lease; empty for nobody.</summary>
    public string Holder
    {
        get
        {
            lock (_lock)
            {
                return _holder;
            }
        }
    }

    /// <summary>How many different processes had the lease.</summary>
    public int Holders
    {
        get
        {
            lock (_lock)
            {
                return _holders.Count;
            }
        }
    }

    /// <summary>Writes of those that did not have the lease when they sent them.</summary>
    public IReadOnlyList<string> Wrong
    {
        get
        {
            lock (_lock)
            {
                return [.. _wrong];
            }
        }
    }

    /// <summary>Whether a request changes something, other than leases and events.</summary>
    public static bool IsWrite(string method, string path) => method != "GET" && !IsLease(path)
        && !path.EndsWith("/events", StringComparison.Ordinal) && !path.Contains("/events/", StringComparison.Ordinal);

    /// <summary>Notes a request when it arrives from an operator.</summary>
    public void Arrived(string client, string method, string path)
    {
        if (!IsWrite(method, path))
        {
            return;
        }

        lock (_lock)
        {
            _writes++;
            if (_holder != client)
            {
                _wrong.Add(string.Create(CultureInfo.InvariantCulture, $"{client} sent {method} {path} while {(_holder.Length == 0 ? "nobody" : _holder)} had the lease"));
            }
        }
    }

    /// <summary>Notes a request that the API server has carried out.</summary>
    public void CarriedOut(string method, string path, byte[] body)
    {
        if (method == "GET" || !IsLease(path) || (string?)JsonNode.Parse(body)?["spec"]?["holderIdentity"] is not { } identity)
        {
            return;
        }

        lock (_lock)
        {
            _holder = identity.Split('_')[0];
            _holders.Add(identity);
        }
    }

    private static bool IsLease(string path) => path.Contains("/leases", StringComparison.Ordinal);
}
