using Vhost.Abstractions;
using Vhost.Bench;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>What a guest is.</summary>
/// <param name="Name">Names it in messages.</param>
/// <param name="IsScsi">virtio-scsi, or virtio-blk.</param>
/// <param name="Format">The format of its rings.</param>
/// <param name="Depth">Requests under way.</param>
/// <param name="Seed">Of its choices.</param>
internal sealed record GuestKind(string Name, bool IsScsi, VirtqueueFormat Format, int Depth, int Seed);

/// <summary>
/// A guest that reads, writes and flushes, checks every byte that it reads, and survives the end of its server: rings, memory and in-flight area stay, and it
/// connects again with them, as QEMU does: when it is told to, or by itself. One thread runs it; only <see cref="Reconnect"/> and the counters are for others.
/// </summary>
internal sealed class Guest : IDisposable
{
    public const int BlockBytes = 4096;
    private const int IdleLimitMilliseconds = 90_000;
    private const int LinkLimitMilliseconds = 180_000;
    private static readonly TimeSpan BetweenConnects = TimeSpan.FromMilliseconds(100);

    private readonly GuestKind _kind;
    private readonly TrackedDevice _device;
    private readonly BlockRequests _requests;
    private readonly FrontEndQueue _queue;
    private readonly BlockVerifier _verifier;
    private readonly Random _random;
    private readonly ulong[] _places;
    private readonly bool[] _isWrite;
    private readonly bool[] _isFlush;
    private readonly Stack<int> _free = new();
    private readonly ulong _placeCount;
    private readonly bool _followsLink;
    private volatile int _reconnectWanted;
    private volatile int _reconnectDone;
    private volatile bool _stop;
    private volatile bool _abandon;
    private long _completed;
    private long _bytesVerified;
    private long _returns;

    /// <summary>Connects.</summary>
    /// <param name="kind">What it is.</param>
    /// <param name="socket">The server's socket.</param>
    /// <param name="placeCount">Blocks of the disk that it uses.</param>
    /// <param name="followsLink">Whether it connects again by itself whenever its session ended.</param>
    public Guest(GuestKind kind, string socket, ulong placeCount, bool followsLink = false)
    {
        _kind = kind;
        _followsLink = followsLink;
        _random = new Random(kind.Seed);
        _placeCount = placeCount;
        _verifier = new BlockVerifier(placeCount);
        _device = new TrackedDevice(socket, kind.Format, kind.IsScsi, 4 << 20);
        _requests = kind.IsScsi ? new VirtioScsiRequests(_device.Device, kind.Depth, BlockBytes) : new VirtioBlkRequests(_device.Device, kind.Depth, BlockBytes);
        _queue = _device.Queue;
        _places = new ulong[kind.Depth];
        _isWrite = new bool[kind.Depth];
        _isFlush = new bool[kind.Depth];
        for (var slot = 0; slot < kind.Depth; slot++)
        {
            _free.Push(slot);
        }
    }

    /// <summary>Requests that came back. Any thread.</summary>
    public long Completed => Interlocked.Read(ref _completed);

    /// <summary>Bytes that were compared. Any thread.</summary>
    public long BytesVerified => Interlocked.Read(ref _bytesVerified);

    /// <summary>How often it came back to a server. Any thread.</summary>
    public long Returns => Interlocked.Read(ref _returns);

    public string Name => _kind.Name;

    /// <summary>Lets the guest connect again. One other thread.</summary>
    public void Reconnect() => _reconnectWanted++;

    /// <summary>Lets the guest finish what is under way and read everything back. Any thread.</summary>
    public void Stop() => _stop = true;

    /// <summary>Lets the guest end at once, whatever is under way. Any thread.</summary>
    public void Abandon() => _abandon = true;

    /// <summary>The guest's life, until <see cref="Stop"/>; at its end every block was read and compared.</summary>
    /// <exception cref="FrontEndException">A request failed, data was wrong, or nothing came for long.</exception>
    public void Run()
    {
        while (!_abandon && (!_stop || IsReconnectWanted))
        {
            Turn(refill: true);
        }

        while (!_abandon && _queue.Ring.UnderWayCount > 0)
        {
            Turn(refill: false);
        }

        for (ulong place = 0; place < _placeCount && !_abandon; place++)
        {
            var slot = _free.Pop();
            _free.Push(slot);
            if (!_requests.Execute(_queue, slot, isWrite: false, place * BlocksPerPlace, BlockBytes))
            {
                throw new FrontEndException($"{Name}: place {place} cannot be read at the end: {_requests.DescribeResult(slot)}");
            }

            Check(place, slot);
        }
    }

    public void Dispose() => _device.Dispose();

    private bool IsReconnectWanted => _reconnectWanted != _reconnectDone;

    private ulong BlocksPerPlace => BlockBytes / (ulong)_requests.BlockSizeBytes;

    private void Turn(bool refill)
    {
        if (_followsLink)
        {
            ComeBack();
        }

        if (IsReconnectWanted)
        {
            int attempt = _reconnectWanted;
            try
            {
                _device.ConnectAgain();
                Interlocked.Increment(ref _returns);
            }
            catch (Exception exception) when (exception is LinuxException or FrontEndException { IsClosed: true })
            {
                // The server was killed again while it was being told about the rings; another one comes.
            }

            _reconnectDone = attempt;
        }

        while (refill && _free.TryPop(out var slot))
        {
            Submit(slot);
        }

        _queue.Publish();
        var limit = Environment.TickCount64 + IdleLimitMilliseconds;
        var spinner = default(SpinWait);
        while (!_abandon && !_queue.Ring.HasUsed && !IsReconnectWanted && !(refill && _stop) && !(_followsLink && _device.IsLinkLost))
        {
            if (Environment.TickCount64 > limit)
            {
                throw new FrontEndException($"{Name}: nothing came back for {IdleLimitMilliseconds / 1000} s; {_queue.Ring.UnderWayCount} requests are under way");
            }

            spinner.SpinOnce(20);
        }

        while (_queue.Ring.TryGetUsed(out var token, out _))
        {
            Finish((int)token);
        }

        if (_queue.Ring.BrokenReason is { } reason)
        {
            throw new FrontEndException($"{Name}: the device broke the ring: {reason}");
        }
    }

    /// <summary>While there is no server its socket is not there, or nobody answers at it: that is tried again, and nothing else is an excuse.</summary>
    private void ComeBack()
    {
        var limit = Environment.TickCount64 + LinkLimitMilliseconds;
        while (!_abandon && _device.IsLinkLost)
        {
            try
            {
                _device.ConnectAgain();
                Interlocked.Increment(ref _returns);
            }
            catch (Exception exception) when (exception is LinuxException or FrontEndException { IsClosed: true })
            {
                if (Environment.TickCount64 > limit)
                {
                    throw new FrontEndException($"{Name}: no server came back within {LinkLimitMilliseconds / 1000} s: {exception.Message}");
                }

                Thread.Sleep(BetweenConnects);
            }
        }
    }

    private void Submit(int slot)
    {
        var choice = _random.Next(100);
        _isFlush[slot] = choice < 4;
        if (_isFlush[slot])
        {
            Add(slot);
            return;
        }

        ulong place;
        do
        {
            place = (ulong)_random.NextInt64((long)_placeCount);
        }
        while (!_verifier.TryTake(place));

        _places[slot] = place;
        _isWrite[slot] = choice < 75;
        if (_isWrite[slot])
        {
            _verifier.Fill(place, _requests.Data(slot).Slice(0, BlockBytes).Span);
        }

        Add(slot);
    }

    private void Add(int slot)
    {
        var isAdded = _isFlush[slot]
            ? _requests.TryAddFlush(_queue.Ring, slot)
            : _requests.TryAdd(_queue.Ring, slot, _isWrite[slot], _places[slot] * BlocksPerPlace, BlockBytes);
        if (!isAdded)
        {
            throw new FrontEndException($"{Name}: the ring has no room, though no slot is used twice");
        }
    }

    private void Finish(int slot)
    {
        if (!_requests.IsSuccess(slot))
        {
            // A target that was started again says so once; a driver repeats the command.
            if (_requests is VirtioScsiRequests scsi && scsi.Status(slot) == 2 && scsi.Sense(slot) is { Length: > 2 } sense && (sense[2] & 15) == 6)
            {
                Add(slot);
                return;
            }

            throw new FrontEndException($"{Name}: a request failed: {_requests.DescribeResult(slot)}");
        }

        Interlocked.Increment(ref _completed);
        if (!_isFlush[slot])
        {
            if (!_isWrite[slot])
            {
                Check(_places[slot], slot);
            }

            _verifier.Release(_places[slot]);
        }

        _free.Push(slot);
    }

    private void Check(ulong place, int slot)
    {
        if (_verifier.Check(place, _requests.Data(slot).Slice(0, BlockBytes).Span) is { } fault)
        {
            throw new FrontEndException($"{Name}: wrong data: {fault}");
        }

        Interlocked.Add(ref _bytesVerified, BlockBytes);
    }
}
