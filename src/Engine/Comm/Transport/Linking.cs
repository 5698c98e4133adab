using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>Links the ranks of a group with each other, with the store's help: first each says where it is, then those of a host
/// share memory, then those of different hosts connect.</summary>
/// <param name="store">Shared by all ranks.</param>
/// <param name="place">This process in the run.</param>
/// <param name="name">The group's; nobody else's.</param>
/// <param name="ranks">The members, as ranks of the run.</param>
/// <param name="timeout">Longest wait, here and later.</param>
/// <param name="options">Settings.</param>
internal sealed class Linking(TcpStore store, WorkerEnvironment place, string name, IReadOnlyList<int> ranks, TimeSpan timeout, LinkOptions options)
{
    private readonly int _me = ranks.ToList().IndexOf(place.Rank!.Value);

    /// <summary>Links this rank with the others; all members call it.</summary>
    /// <exception cref="PeerLostException">One of them did not.</exception>
    public async Task<HostLinks> ConnectAsync()
    {
        using var deadline = new CancellationTokenSource(timeout);
        IPAddress address = await MasterEndpoint.AddressToListenOnAsync(place, deadline.Token).ConfigureAwait(false);
        using Socket listener = ListenForRanks(address);
        Set("card", JsonSerializer.Serialize(new Card(((IPEndPoint)listener.LocalEndPoint!).Port, System.Environment.ProcessId,
            options.SharesMemory ? options.Host : $"alone/{_me}")));
        Card[] cards = [.. Enumerable.Range(0, ranks.Count).Select(rank => JsonSerializer.Deserialize<Card>(Get("card", rank))!)];
        string[] places = [.. Enumerable.Range(0, ranks.Count).Select(rank => $"{store.Hosts[ranks[rank]]}:{cards[rank].Port}")];
        // The store, which sees all ranks, gives its verdict first.
        var watch = new PeerWatch(_me, ranks, places, timeout + store.Grace, store.Lost) { AskStore = store.ReportFailure };
        List<int[]> hosts = [.. Enumerable.Range(0, ranks.Count).GroupBy(rank => cards[rank].Host).Select(host => host.ToArray())];
        SharedSegment? segment = null;
        TcpConnections? connections = null;
        try
        {
            (segment, hosts, string refusal) = ShareMemory(hosts, cards);
            int[] local = hosts.First(host => host.Contains(_me));
            foreach (int peer in local.Where(peer => peer != _me))
            {
                watch.Follow(peer, cards[peer].Process);
            }

            int[] remote = [.. Enumerable.Range(0, ranks.Count).Except(local)];
            connections = new TcpConnections(_me, name, store.SessionKey, options.Streams);
            await connections.ConnectAsync(listener, remote, peer => new DnsEndPoint(store.Hosts[ranks[peer]], cards[peer].Port), deadline.Token)
                .ConfigureAwait(false);
            return HostLinks.Between(watch, hosts, segment, connections.Links, Describe(hosts, connections, refusal));
        }
        catch (Exception e) when (e is SocketException or IOException or OperationCanceledException)
        {
            connections?.Dispose();
            segment?.Release();
            watch.Dispose();
            int[] missing = connections is null ? [] : [.. connections.Missing.Select(peer => ranks[peer])];
            throw store.ReportFailure(new PeerLostException(missing.Length > 0 ? missing[0] : -1, $"links of {name}, rank {place.Rank}: "
                + $"{(missing.Length == 1 ? "rank" : "ranks")} {string.Join(", ", missing)} could not be linked within {timeout.TotalSeconds:0.#} s: {e.Message}; "
                + "check that ranks can reach each other on any port", e)
            { Ranks = missing });
        }
    }

    private (SharedSegment? Segment, List<int[]> Hosts, string Refusal) ShareMemory(List<int[]> hosts, Card[] cards)
    {
        int[] local = hosts.First(host => host.Contains(_me));
        SharedSegment? segment = null;
        string outcome = "";
        if (local.Length > 1)
        {
            try
            {
                if (local[0] == _me)
                {
                    segment = SharedSegment.Create(local.Length);
                    Set("memory", segment.Descriptor.ToString(System.Globalization.CultureInfo.InvariantCulture));
                }
                else if (Get("memory", local[0]) is { Length: > 0 } descriptor)
                {
                    segment = SharedSegment.Open(cards[local[0]].Process,
                        int.Parse(descriptor, System.Globalization.CultureInfo.InvariantCulture), local.Length);
                }
            }
            catch (IOException e)
            {
                outcome = e.Message;
                if (local[0] == _me)
                {
                    Set("memory", ""); // the others need not wait for it
                }
            }
        }

        // All ranks know of all hosts, so that all choose the same algorithms. A host that cannot share counts as several.
        Set("mapped", outcome);
        string[] outcomes = [.. Enumerable.Range(0, ranks.Count).Select(rank => Get("mapped", rank))];
        segment?.Seal();
        string refusal = local.Select(rank => outcomes[rank]).FirstOrDefault(text => text.Length > 0, "");
        if (refusal.Length > 0)
        {
            segment?.Release();
            segment = null;
        }

        return (segment, [.. hosts.SelectMany(host => host.Any(rank => outcomes[rank].Length > 0) ? host.Select(rank => new[] { rank }) : [host])
            .OrderBy(host => host[0])], refusal);
    }

    private string Describe(List<int[]> hosts, TcpConnections connections, string refusal)
    {
        int local = hosts.First(host => host.Contains(_me)).Length;
        string text = $"{ranks.Count} {(ranks.Count == 1 ? "rank" : "ranks")}: ";
        text += string.Join(", ", new[]
        {
            local > 1 ? $"shared memory with {local - 1} on this host" : "",
            connections.Links.Count > 0 ? $"TCP with {connections.Links.Count} in {connections.Streams} streams each" : "",
        }.Where(part => part.Length > 0));
        return refusal.Length > 0 ? $"{text} (ranks of this host cannot share memory: {refusal}; they use TCP, which is slower)" : text;
    }

    // On any port but MASTER_PORT, which is often one that was free a moment ago: the kernel may offer it again.
    private Socket ListenForRanks(IPAddress address)
    {
        Socket socket = MasterEndpoint.Listen(address, 0);
        if (((IPEndPoint)socket.LocalEndPoint!).Port != place.MasterPort)
        {
            return socket;
        }

        using (socket)
        {
            return MasterEndpoint.Listen(address, 0);
        }
    }

    private void Set(string what, string value) => store.Set($"{name}/{what}/{_me}", Encoding.UTF8.GetBytes(value));

    private string Get(string what, int rank)
    {
        try
        {
            return Encoding.UTF8.GetString(store.Get($"{name}/{what}/{rank}", timeout));
        }
        catch (TimeoutException e)
        {
            throw store.ReportFailure(new PeerLostException(ranks[rank], $"links of {name}, rank {place.Rank}: rank {ranks[rank]} did not come within "
                + $"{timeout.TotalSeconds:0.#} s; every rank must make the same groups in the same order. Look at its log", e));
        }
    }

    private sealed record Card(int Port, int Process, string Host);
}
