using System.Net;
using System.Net.Sockets;
using BenchmarkDotNet.Attributes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>All-reduce of two ranks over TCP on the loopback device, against its limit: moving the same bytes.</summary>
public class AllReduceBenchmarks : IDisposable
{
    private ProcessGroup[] _groups = [];
    private Tensor[] _tensors = [];
    private Socket[] _sockets = [];
    private byte[][] _buffers = [];

    [Params(64 << 10, 16 << 20)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void Connect()
    {
        int port = FreePort();
        Task<ProcessGroup>[] joining = [.. Enumerable.Range(0, 2).Select(rank => Task.Run(async () =>
        {
            var place = new WorkerEnvironment { Rank = rank, LocalRank = rank, WorldSize = 2, MasterPort = port };
            return await GroupFactory.CreateWorldAsync(place, TimeSpan.FromMinutes(1), new LinkOptions { SharesMemory = false });
        }))];
        _groups = Task.WhenAll(joining).GetAwaiter().GetResult();
        _tensors = [.. _groups.Select(_ => ones(Bytes / sizeof(float)))];
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var left = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        left.Connect(listener.LocalEndpoint);
        _sockets = [left, listener.AcceptSocket()];
        _buffers = [.. Enumerable.Range(0, 4).Select(_ => new byte[Bytes])];
    }

    // Each rank of a ring of two sends and receives n bytes in all, half of them in each of two steps.
    [Benchmark(Baseline = true, Description = "raw sockets, the same bytes both ways")]
    public void Limit()
    {
        for (int half = 0; half < 2; half++)
        {
            Task.WhenAll(Send(0), Send(1), Receive(0), Receive(1)).GetAwaiter().GetResult();
        }

        async Task Send(int rank)
        {
            for (int sent = 0; sent < Bytes / 2;)
            {
                sent += await _sockets[rank].SendAsync(_buffers[rank].AsMemory(sent, Bytes / 2 - sent));
            }
        }

        async Task Receive(int rank)
        {
            for (int received = 0; received < Bytes / 2;)
            {
                received += await _sockets[rank].ReceiveAsync(_buffers[2 + rank].AsMemory(received, Bytes / 2 - received));
            }
        }
    }

    [Benchmark(Description = "all-reduce")]
    public void AllReduce() =>
        Task.WhenAll(_groups.Select((group, rank) => group.AllReduceAsync(_tensors[rank]).Completion)).GetAwaiter().GetResult();

    [GlobalCleanup]
    public void Dispose()
    {
        Array.ForEach(_groups, g => g.Dispose());
        Array.ForEach(_tensors, t => t.Dispose());
        Array.ForEach(_sockets, s => s.Dispose());
        GC.SuppressFinalize(this);
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }
}
