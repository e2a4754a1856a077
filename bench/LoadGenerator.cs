using System.Diagnostics;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.Virtio;

namespace Vhost.Bench;

/// <summary>Keeps a number of requests under way in each queue of a server, on one thread, and measures.</summary>
internal sealed partial class LoadGenerator : IDisposable
{
    private const ulong QueueRoomBytes = 1 << 20;
    private const int IdleLimitMilliseconds = 60_000;
    private const int InterruptWaitMilliseconds = 1000;
    private const int LookAfterMilliseconds = 200;

    private readonly LoadOptions _options;
    private readonly GuestMemory _memory;
    private readonly FrontEndDevice _device;
    private readonly FrontEndQueue[] _queues;
    private readonly BlockRequests[] _requests;
    private readonly long[][] _submitted;
    private readonly ulong[][] _places;
    private readonly bool[][] _isWrite;
    private readonly ulong[] _peeked = new ulong[32];
    private readonly LatencyHistogram _latencies = new();
    private readonly BlockVerifier? _verifier;
    private readonly Epoll _epoll = Epoll.Create();
    private readonly Epoll _serverGone = Epoll.Create();
    private readonly ulong _placeCount;
    private readonly ulong _blocksPerPlace;
    private ulong _random = 0x2545_f491_4f6c_dd1d;
    private ulong _next;
    private long _errors;
    private long _verified;
    private long _interrupts;
    private string? _firstError;

    /// <summary>Connects.</summary>
    /// <param name="options">What load.</param>
    public LoadGenerator(LoadOptions options)
    {
        _options = options;
        var perQueue = (QueueRoomBytes * 4) + ((ulong)options.QueueDepth * ((ulong)options.BlockSizeBytes + 8192));
        var bytes = ((ulong)options.QueueCount + 2) * perQueue;
        _memory = new GuestMemory(options.HugePageSizeBytes, (bytes + (2 << 20) - 1) & ~((2UL << 20) - 1));
        _device = FrontEndDevice.Connect(options.Socket, _memory, new FrontEndOptions
        {
            QueueCount = options.QueueCount,
            FirstRequestQueue = options.Device == DeviceKind.Scsi ? VirtioScsiRequests.FirstRequestQueue : 0,
            QueueSize = options.QueueSize,
            Format = options.Format,
            Features = (options.UsesEventIndex ? VirtioFeatures.EventIndex : 0) | (options.UsesIndirect ? VirtioFeatures.IndirectDescriptors : 0),
        });
        _queues = [.. Enumerable.Range(0, options.QueueCount).Select(_device.RequestQueue)];
        _requests = [.. _queues.Select(_ => (BlockRequests)(options.Device == DeviceKind.Scsi
            ? new VirtioScsiRequests(_device, options.QueueDepth, options.BlockSizeBytes, options.Target)
            : new VirtioBlkRequests(_device, options.QueueDepth, options.BlockSizeBytes)))];
        _submitted = [.. _queues.Select(_ => new long[options.QueueDepth])];
        _places = [.. _queues.Select(_ => new ulong[options.QueueDepth])];
        _isWrite = [.. _queues.Select(_ => new bool[options.QueueDepth])];
        var disk = _requests[0];
        if (options.BlockSizeBytes % disk.BlockSizeBytes != 0)
        {
            throw new FrontEndException($"requests of {options.BlockSizeBytes} bytes are not whole blocks of {disk.BlockSizeBytes}");
        }

        _blocksPerPlace = (ulong)(options.BlockSizeBytes / disk.BlockSizeBytes);
        var diskBytes = disk.BlockCount * (ulong)disk.BlockSizeBytes;
        var usedBytes = options.SizeBytes == 0 ? diskBytes : Math.Min(options.SizeBytes, diskBytes);
        _placeCount = usedBytes / (ulong)options.BlockSizeBytes;
        if (_placeCount < (ulong)(options.QueueDepth * options.QueueCount))
        {
            throw new FrontEndException($"the disk of {diskBytes} bytes is too small for this load");
        }

        _verifier = options.Verifies ? new BlockVerifier(_placeCount) : null;
        for (var i = 0; i < _queues.Length; i++)
        {
            _epoll.Add(_queues[i].Call.Raw, EpollEvents.In, (ulong)i);
        }

        _epoll.Add(_device.Connection.Socket.Raw, EpollEvents.PeerClosed, (ulong)_queues.Length);
        _serverGone.Add(_device.Connection.Socket.Raw, EpollEvents.PeerClosed, 0);
    }

    /// <summary>The disk's size, for people.</summary>
    public string Disk => $"{_requests[0].BlockCount} blocks of {_requests[0].BlockSizeBytes} bytes, features 0x{_device.Features:x}";

    /// <summary>Loads and measures, on this thread.</summary>
    /// <exception cref="FrontEndException">The server broke a queue, gave nothing back, or gave wrong data.</exception>
    public LoadResult Run()
    {
        if (_options.Cpu >= 0)
        {
            Scheduling.PinCurrentThread(_options.Cpu);
        }

        for (var queue = 0; queue < _queues.Length; queue++)
        {
            for (var slot = 0; slot < _options.QueueDepth; slot++)
            {
                Submit(queue, slot, Stopwatch.GetTimestamp());
            }

            _queues[queue].Publish();
        }

        LoadUntil(Stopwatch.GetTimestamp() + (long)(_options.WarmUpSeconds * Stopwatch.Frequency), long.MaxValue);
        _latencies.Clear();
        _options.Observer?.OnMeasuring();
        (_errors, _verified, _interrupts) = (0, 0, 0);
        var kicks = _queues.Sum(queue => queue.KickCount);
        var collections = GC.CollectionCount(0);
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var begin = Stopwatch.GetTimestamp();
        if (_options.RatePerSecond > 0)
        {
            LoadPaced(begin + (long)(_options.Seconds * Stopwatch.Frequency));
        }
        else
        {
            var end = _options.Requests > 0 ? long.MaxValue : begin + (long)(_options.Seconds * Stopwatch.Frequency);
            LoadUntil(end, _options.Requests > 0 ? _options.Requests : long.MaxValue);
        }

        var seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        collections = GC.CollectionCount(0) - collections;
        var result = new LoadResult
        {
            Iops = _latencies.Count / seconds,
            MegabytesPerSecond = _latencies.Count * (double)_options.BlockSizeBytes / seconds / 1e6,
            Requests = _latencies.Count,
            Errors = _errors,
            Verified = _verified,
            MeanMicroseconds = _latencies.Mean / 1e3,
            P50Microseconds = _latencies.Percentile(0.5) / 1e3,
            P99Microseconds = _latencies.Percentile(0.99) / 1e3,
            P999Microseconds = _latencies.Percentile(0.999) / 1e3,
            MaxMicroseconds = _latencies.Max / 1e3,
            Kicks = _queues.Sum(queue => queue.KickCount) - kicks,
            Interrupts = _interrupts,
            AllocatedBytes = allocated,
            Collections = collections,
        };
        Drain();
        return _errors == 0 ? result : throw new FrontEndException($"{_errors} requests failed; the first: {_firstError}");
    }

    /// <summary>Stops the queues in an orderly way and disconnects.</summary>
    public void Dispose()
    {
        _epoll.Dispose();
        _serverGone.Dispose();
        try
        {
            _device.Stop();
        }
        catch (Exception exception) when (exception is FrontEndException or LinuxException)
        {
            Console.Error.WriteLine($"vhost-bench: the server did not stop its queues: {exception.Message}");
        }

        _device.Dispose();
        _memory.Dispose();
    }

    private void LoadUntil(long end, long requests)
    {
        var lastWork = Environment.TickCount64;
        var rounds = 0;
        while (true)
        {
            var completed = 0;
            for (var queue = 0; queue < _queues.Length; queue++)
            {
                completed += Turn(queue, refill: true);
            }

            // The clock is read by turns that did something, and now and then.
            rounds++;
            if (completed != 0 || (rounds & 0xff) == 0)
            {
                if (completed != 0)
                {
                    lastWork = Environment.TickCount64;
                }
                else
                {
                    CheckIdle(lastWork);
                }

                if (_latencies.Count >= requests || Stopwatch.GetTimestamp() >= end)
                {
                    return;
                }
            }

            if (completed == 0 && _options.UsesInterrupts && !TrySleep())
            {
                // Nothing came for long: the next turn looks why.
                rounds = 0xff;
            }
        }
    }

    private int Turn(int queue, bool refill)
    {
        var ring = _queues[queue].Ring;
        if (!ring.HasUsed)
        {
            return 0;
        }

        // One clock for the results that are there: the next are measured from when these were seen.
        var now = Stopwatch.GetTimestamp();
        var submitted = _submitted[queue];
        var completed = 0;
        var oldest = now;
        var peeked = ring.PeekUsed(_peeked);
        if (peeked > 1)
        {
            // The answers lie in cache lines of the server's CPU: fetched side by side, they do not make the client what limits the server.
            _requests[queue].Prefetch(_peeked.AsSpan(0, peeked));
        }

        while (completed < submitted.Length && ring.TryGetUsed(out var token, out _))
        {
            var slot = (int)token;
            completed++;
            oldest = Math.Min(oldest, submitted[slot]);
            _latencies.Record((now - submitted[slot]) * 1_000_000_000 / Stopwatch.Frequency);
            Finish(queue, slot);
            if (refill)
            {
                Submit(queue, slot, now);
            }
        }

        if (ring.BrokenReason is not null)
        {
            throw new FrontEndException(ring.BrokenReason);
        }

        if (refill)
        {
            _queues[queue].Publish();
        }

        _options.Observer?.OnCompleted(now, now - oldest);
        return completed;
    }

    private void Submit(int queue, int slot, long now)
    {
        var place = NextPlace();
        var isWrite = _options.ReadPercent < 100 && (int)(NextRandom() % 100) >= _options.ReadPercent;
        if (_verifier is not null)
        {
            while (!_verifier.TryTake(place))
            {
                place = NextPlace();
            }

            if (isWrite)
            {
                _verifier.Fill(place, _requests[queue].Data(slot).Slice(0, _options.BlockSizeBytes).Span);
            }
        }

        _submitted[queue][slot] = now;
        _places[queue][slot] = place;
        _isWrite[queue][slot] = isWrite;
        if (!_requests[queue].TryAdd(_queues[queue].Ring, slot, isWrite, place * _blocksPerPlace, _options.BlockSizeBytes))
        {
            throw new FrontEndException($"a ring of {_options.QueueSize} entries has no room for {_options.QueueDepth} requests; use --queue-size");
        }
    }

    private void Finish(int queue, int slot)
    {
        if (!_requests[queue].IsSuccess(slot))
        {
            _errors++;
            _firstError ??= _requests[queue].DescribeResult(slot);
        }

        if (_verifier is null)
        {
            return;
        }

        var place = _places[queue][slot];
        if (!_isWrite[queue][slot])
        {
            if (_verifier.Check(place, _requests[queue].Data(slot).Slice(0, _options.BlockSizeBytes).Span) is { } fault)
            {
                throw new FrontEndException($"wrong data: {fault}");
            }

            _verified++;
        }

        _verifier.Release(place);
    }

    private void Drain()
    {
        var start = Environment.TickCount64;
        for (var queue = 0; queue < _queues.Length; queue++)
        {
            while (_queues[queue].Ring.UnderWayCount > 0)
            {
                if (Turn(queue, refill: false) == 0)
                {
                    CheckIdle(start);
                }
            }
        }
    }

    /// <summary>Waits for an interrupt; false if none came.</summary>
    private bool TrySleep()
    {
        for (var queue = 0; queue < _queues.Length; queue++)
        {
            if (!_queues[queue].Ring.TryEnableInterrupts())
            {
                for (var armed = 0; armed < queue; armed++)
                {
                    _queues[armed].Ring.DisableInterrupts();
                }

                return true;
            }
        }

        Span<EpollEvent> events = stackalloc EpollEvent[16];
        var count = _epoll.Wait(events, InterruptWaitMilliseconds);
        for (var i = 0; i < count; i++)
        {
            if (events[i].Token == (ulong)_queues.Length)
            {
                ThrowGone();
            }

            _queues[events[i].Token].Call.Drain();
            _interrupts++;
        }

        foreach (var queue in _queues)
        {
            queue.Ring.DisableInterrupts();
        }

        return count > 0;
    }

    private ulong NextPlace()
    {
        if (_options.Pattern == Pattern.Seq)
        {
            var place = _next;
            _next = place + 1 < _placeCount ? place + 1 : 0;
            return place;
        }

        return Math.BigMul(NextRandom(), _placeCount, out _);
    }

    private ulong NextRandom()
    {
        // xorshift64*: one request's worth of randomness in a nanosecond.
        _random ^= _random >> 12;
        _random ^= _random << 25;
        _random ^= _random >> 27;
        return _random * 0x2545_f491_4f6c_dd1d;
    }

    /// <summary>Nothing came back in a turn: gives up where nothing can come any more, or nothing has for long.</summary>
    private void CheckIdle(long since)
    {
        var idle = Environment.TickCount64 - since;
        if (idle < LookAfterMilliseconds)
        {
            return;
        }

        Span<EpollEvent> events = stackalloc EpollEvent[1];
        if (_serverGone.Wait(events, 0) > 0)
        {
            ThrowGone();
        }

        if (idle > IdleLimitMilliseconds)
        {
            throw new FrontEndException(
                $"the server gave nothing back for {IdleLimitMilliseconds / 1000} s ({_queues.Sum(queue => queue.Ring.UnderWayCount)} requests under way)");
        }
    }

    private void ThrowGone() =>
        throw new FrontEndException($"the server closed the connection with {_queues.Sum(queue => queue.Ring.UnderWayCount)} requests under way");
}
