using System.Security.Cryptography;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>What the store does for connections that have proved to be ranks. Only for the store's thread.</summary>
internal sealed class StoreMembers
{
    private readonly WorkerEnvironment _place;
    private readonly TimeSpan _timeout;
    private readonly Membership _membership;
    private readonly KeyTable _keys = new();
    private readonly Barriers _barriers = new();
    private readonly DumpCollection _dumps;
    private readonly StoreConnection?[] _ranks;
    private readonly byte[] _session = RandomNumberGenerator.GetBytes(32);
    private byte[]? _ownVerdict;

    public StoreMembers(WorkerEnvironment place, TimeSpan timeout, StoreOptions options, FlightRecorder recorder)
    {
        (_place, _timeout) = (place, timeout);
        _membership = new Membership(place.WorldSize, timeout, options);
        _dumps = new DumpCollection(options.DumpFolder, recorder);
        _ranks = new StoreConnection?[place.WorldSize];
    }

    /// <summary>Whether a failure's dumps are still awaited.</summary>
    public bool IsCollecting => _ownVerdict is not null;

    /// <summary>Why a rank that belongs here cannot join now; null when it can.</summary>
    public string? Refusal(StoreHello hello) => _membership switch
    {
        { IsComplete: true } when _ranks[hello.Rank] is { } member =>
            $"rank {hello.Rank} is here already, from {member.Address}; two processes have the same RANK, or an earlier start still runs",
        { IsComplete: true } => $"the run goes on without rank {hello.Rank}, which was lost; all ranks have to start again",
        _ => null,
    };

    /// <summary>A rank has come.</summary>
    public void Join(StoreConnection connection, TimeSpan now)
    {
        int rank = connection.Rank;
        if (_ranks[rank] is { } earlier)
        {
            // A rank that was started again before the world was complete: the newer one counts.
            _ranks[rank] = null;
            earlier.Send(FrameKind.Refused, 0, new FieldWriter().Text($"another process came as rank {rank}, from {connection.Address}; "
                + "each process needs a RANK of its own").ToArray());
            earlier.IsClosing = true;
            Forget(earlier);
        }

        _ranks[rank] = connection;
        connection.Send(FrameKind.Accepted, 0, _session);
        _membership.Join(rank, rank == 0 ? MasterEndpoint.HostOf(_place) : connection.Address, now);
        if (_membership.IsComplete)
        {
            byte[] hosts = new FieldWriter().List(_membership.Hosts, (fields, host) => fields.Text(host)).ToArray();
            Array.ForEach(_ranks, member => member!.Send(FrameKind.Ready, 0, hosts));
        }
    }

    /// <summary>Bytes of a rank have come, if only a part of a long frame.</summary>
    public void Heard(StoreConnection connection, TimeSpan now)
    {
        if (_ranks[connection.Rank] == connection)
        {
            _membership.Heard(connection.Rank, now);
        }
    }

    /// <summary>A rank says something.</summary>
    /// <exception cref="InvalidDataException">It is nothing that a rank says.</exception>
    public void Take(StoreConnection connection, StoreFrame frame, TimeSpan now)
    {
        if (_ranks[connection.Rank] != connection)
        {
            return; // replaced by a newer one
        }

        int rank = connection.Rank;
        var fields = new FieldReader(frame.Body);
        switch (frame.Kind)
        {
            case FrameKind.Beat:
                _membership.Advance(rank, ProgressFrame.Decode(frame.Body));
                connection.Send(FrameKind.Pulse, 0,
                    new FieldWriter().List(_membership.Missing, (pulse, missing) => pulse.Number(missing)).ToArray());
                break;
            case FrameKind.Group:
                _membership.Define(fields.Text(), fields.List((ref FieldReader item) => item.Number()));
                break;
            case FrameKind.Failure:
                _membership.Report(rank, fields.Number(), fields.Text(), now);
                break;
            case FrameKind.Dump:
                _dumps.Add(rank, frame.Body);
                break;
            case FrameKind.Goodbye:
                _membership.Advance(rank, ProgressFrame.Decode(frame.Body));
                connection.SaidGoodbye = true;
                break;
            default:
                Serve(connection, frame, now);
                break;
        }
    }

    /// <summary>The connection of a rank ended.</summary>
    public void End(StoreConnection connection, TimeSpan now)
    {
        Forget(connection);
        if (_ranks[connection.Rank] == connection)
        {
            _ranks[connection.Rank] = null;
            _membership.End(connection.Rank, connection.SaidGoodbye, now);
        }
    }

    /// <summary>Answers those whose time has come, and looks whether a rank is lost.</summary>
    public void Look(TimeSpan now)
    {
        _keys.Expire(now);
        _barriers.Expire(now);
        if (_membership.Judge(now) is { } verdict)
        {
            Announce(verdict, now);
        }
        else if (!_membership.IsComplete && _membership.Given is null && now >= _timeout)
        {
            IReadOnlyList<int> missing = _membership.Missing;
            Announce(_membership.GiveUp(new Verdict(missing, "", "", -1, $"rendezvous at {MasterEndpoint.Name(_place)}: "
                + $"{(missing.Count == 1 ? "rank" : "ranks")} {string.Join(", ", missing)} of {_place.WorldSize} did not come within "
                + $"{_timeout.TotalSeconds:0.#} s; look at their logs, or raise DEEPSPEED_TIMEOUT (minutes)")), now);
        }

        if (_ownVerdict is { } own && _dumps.IsDone(_membership.Present, now))
        {
            // Last of all, since the process of rank 0 may end as soon as it knows.
            _dumps.Finish();
            _ranks[0]?.Send(FrameKind.Verdict, 0, own);
            _ownVerdict = null;
        }
    }

    /// <summary>Tells the ranks that are still there that the store ends.</summary>
    public void SayGoodbye()
    {
        foreach (StoreConnection? member in _ranks)
        {
            member?.Send(FrameKind.Goodbye, 0, []);
        }
    }

    private void Announce(Verdict verdict, TimeSpan now)
    {
        byte[] body = verdict.Encode();
        for (int rank = _membership.IsComplete ? 1 : 0; rank < _ranks.Length; rank++)
        {
            _ranks[rank]?.Send(FrameKind.Verdict, 0, body);
        }

        if (_membership.IsComplete)
        {
            _ownVerdict = body;
            _dumps.Start(verdict, now);
        }
    }

    private void Forget(StoreConnection connection)
    {
        _keys.Forget(connection);
        _barriers.Forget(connection.Rank);
    }

    private void Serve(StoreConnection connection, StoreFrame frame, TimeSpan now)
    {
        var fields = new FieldReader(frame.Body);
        switch (frame.Kind)
        {
            case FrameKind.Set:
                _keys.Set(fields.Text(), fields.Bytes(), Answer);
                break;
            case FrameKind.Get:
                bool withValue = fields.Byte() != 0;
                TimeSpan deadline = now + Duration(fields.Long());
                List<string> keys = fields.List((ref FieldReader item) => item.Text());
                if (withValue && keys.Count != 1)
                {
                    throw new InvalidDataException($"the values of {keys.Count} keys at once");
                }

                _keys.Get(keys, connection, deadline, now, withValue, Answer);
                break;
            case FrameKind.Add:
                _keys.Add(fields.Text(), fields.Long(), Answer);
                break;
            case FrameKind.CompareSet:
                _keys.CompareSet(fields.Text(), fields.Bytes(), fields.Bytes(), Answer);
                break;
            case FrameKind.Delete:
                _keys.Delete(fields.Text(), Answer);
                break;
            case FrameKind.Barrier:
                string name = fields.Text();
                TimeSpan until = now + Duration(fields.Long());
                _barriers.Enter(name, connection.Rank, fields.List((ref FieldReader item) => item.Number()), until, Answer);
                break;
            default:
                throw new InvalidDataException($"a {frame.Kind} of a rank");
        }

        void Answer(ReplyStatus status, ReadOnlySpan<byte> answer) =>
            connection.Send(FrameKind.Reply, frame.Id, [(byte)status, .. answer]);
    }

    private static TimeSpan Duration(long milliseconds) => TimeSpan.FromMilliseconds(Math.Clamp(milliseconds, 0, int.MaxValue));
}
