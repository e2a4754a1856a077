using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Abstractions;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>
/// A guest that uses a device's queues as it likes: requests right and wrong, rings overwritten while they are in use, queues stopped and started, over a bdev
/// that is slow, fails, shrinks or vanishes. Whatever happened, the device gives everything back and serves the next driver.
/// </summary>
internal abstract unsafe class QueueTarget : IFuzzTarget
{
    private const ulong RamBase = 0x10_0000;
    private const int QueueSize = 16;
    private const int TableEntries = 4;
    private const int BufferBytes = 0x1_0000;

    private readonly VirtqueueFormat _format;
    private readonly int _queueCount;
    private readonly ManualReactor _reactor = new();
    private readonly List<GuestQueue> _queues = [];
    private readonly HashSet<int> _started = [];
    private RecordingFrontEnd _frontEnd = new();
    private GuestRam _ram = null!;
    private IVirtioSession _session = null!;
    private ulong _buffers;
    private ulong _token;
    private ulong _features;
    private Seen _seen = new();

    private protected QueueTarget(VirtqueueFormat format, int queueCount)
    {
        _format = format;
        _queueCount = queueCount;
    }

    /// <summary>The reactor.</summary>
    private protected ManualReactor Reactor => _reactor;

    /// <summary>Makes the device.</summary>
    /// <param name="context">Where it lives.</param>
    private protected abstract IVirtioDevice Create(DeviceContext context);

    /// <summary>The parts that the device reads of a request to a queue.</summary>
    private protected abstract byte[] MakeRequest(FuzzInput input, int queue);

    /// <summary>How many bytes a request has for the answer.</summary>
    private protected abstract int AnswerBytes(FuzzInput input, int queue);

    /// <summary>Queue, request and length of the answer of something that a working device grants.</summary>
    private protected abstract (int Queue, byte[] Request, int AnswerBytes) GoodRequest { get; }

    /// <summary>Whether the answer to the good request is right.</summary>
    private protected abstract bool IsGood(ReadOnlySpan<byte> answer);

    /// <inheritdoc/>
    public ulong Run(FuzzInput input)
    {
        _seen = new Seen();
        _frontEnd = new RecordingFrontEnd();
        using var port = new MemoryBdevPort("Disk0", input.Of(512u, 4096u), 512);
        port.Change(port.Info! with { AtomicWriteBlocks = 8, LifeUsedPercent = 1, ZeroingErases = true }, BdevChange.Warned);
        var device = Create(new DeviceContext { Name = "fuzzed", Reactors = [_reactor], GetBdev = _ => port, Logger = NullLogger.Instance });
        using (_ram = new GuestRam((RamBase, 0x10_0000), (RamBase + 0x10_0000, 0x1000), (0x1_0000_0000, 0x1_0000)))
        {
            _session = device.OpenSession(_frontEnd);
            _features = (device.OfferedFeatures & ~(input.Raw() & 0x3_3fff_ffff & ~VirtioFeatures.Version1) & ~VirtioFeatures.RingPacked)
                | VirtioFeatures.Version1 | (_format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0);
            _session.SetFeatures(_features);
            SetMemory(port);
            _buffers = _ram.Allocate(BufferBytes);
            _queues.Clear();
            _started.Clear();
            for (var i = 0; i < _queueCount; i++)
            {
                Start(i, new GuestQueue(_ram, _format, QueueSize, _features, TableEntries, i), isNew: true);
            }

            while (!input.IsEmpty)
            {
                Step(input, port);
            }

            End(port);
            _reactor.Run(_session.DisposeAsync());
            _reactor.Run(device.DisposeAsync());
        }

        Require(_reactor.PollerCount == 0, "a poller is left behind");
        Require(port.ChannelCount == 0, "a channel is left open");
        for (var i = 0; i < port.Counts.Length; i++)
        {
            _seen.Add("operation", port.Counts[i]);
        }

        return _seen.Value;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>Fails the run.</summary>
    private protected static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException(what);
        }
    }

    private void Step(FuzzInput input, MemoryBdevPort port)
    {
        var index = input.Below(_queueCount);
        switch (input.Below(16))
        {
            case < 6:
                Send(input, index);
                break;
            case < 9:
                Scribble(input, _queues[index]);
                break;
            case < 13:
                Turn(input.Below(4));
                break;
            case 13:
                Trouble(input, port);
                break;
            case 14 when _started.Contains(index):
                Stop(index, port);
                break;
            case 14:
                Start(index, _queues[index], isNew: false);
                break;
            default:
                Restart(input, index, port);
                break;
        }

        Collect(index);
    }

    private void Send(FuzzInput input, int index)
    {
        var request = MakeRequest(input, index);
        var from = Place(input, request.Length);
        request.CopyTo(_ram.Span(from, request.Length));
        var answer = AnswerBytes(input, index);
        var to = Place(input, answer);
        if (request.Length + answer > 0 && _queues[index].Driver.TryAdd(Cut(input, from, request.Length), Cut(input, to, answer), ++_token))
        {
            _queues[index].Driver.Publish();
        }
    }

    private ulong Place(FuzzInput input, int length) => _buffers + ((ulong)input.Below(BufferBytes - length) & ~(input.Of(511UL, 15UL, 0UL)));

    private static DriverSegment[] Cut(FuzzInput input, ulong address, int length)
    {
        var pieces = new List<DriverSegment>();
        for (var done = 0; done < length;)
        {
            var piece = pieces.Count == 3 || !input.Once(3) ? length - done : 1 + input.Below(length - done);
            // Now and then a piece that lies nowhere, at a region's end, or beyond everything.
            var place = input.Once(24) ? input.Number() : input.Once(24) ? RamBase + 0x10_1000 - (ulong)input.Below(600) : address + (ulong)done;
            pieces.Add(new DriverSegment(place, input.Once(32) ? (uint)input.Number() : (uint)piece));
            done += piece;
        }

        return [.. pieces];
    }

    private void Scribble(FuzzInput input, GuestQueue queue)
    {
        for (var changes = input.Below(6); changes >= 0; changes--)
        {
            var choice = input.Below(5);
            var area = choice switch { < 2 => queue.Memory.Driver, 2 => queue.Memory.Device, _ => queue.Memory.Descriptors };
            var length = choice switch
            {
                3 => 16 * QueueSize,
                4 => 16 * QueueSize * (1 + TableEntries),
                _ when _format == VirtqueueFormat.Packed => 4,
                0 => 8,
                1 => 6 + (2 * QueueSize),
                _ => 6 + (8 * QueueSize),
            };
            var at = input.Below(length);
            switch (input.Below(4))
            {
                case 0:
                    area[at] = input.Byte();
                    break;
                case 1:
                    area[at] ^= (byte)(1 << input.Below(8));
                    break;
                case 2 when at + 8 <= length:
                    *(ulong*)(area + (at & ~7)) = input.Number();
                    break;
                default:
                    *(ushort*)(area + (at & ~1)) += (ushort)(1 + input.Below(3));
                    break;
            }
        }

        _ = queue.Driver.Publish();
    }

    private void Trouble(FuzzInput input, MemoryBdevPort port)
    {
        switch (input.Below(6))
        {
            case 0:
                port.IsDeferring = !port.IsDeferring;
                break;
            case 1:
                _reactor.Invoke(() => port.CompletePending(1 + input.Below(4), input.Once(3) ? input.Of(BlockStatus.IoError, BlockStatus.Aborted, BlockStatus.NoSpace) : null));
                break;
            case 2:
                var status = input.Of(BlockStatus.IoError, BlockStatus.NoSpace, BlockStatus.TimedOut);
                port.Fault = port.Fault is null ? (_, block) => (block & 1) == 0 ? status : null : null;
                break;
            case 3:
                port.Change(port.Info is null ? null : port.Info with { BlockCount = 256 + (ulong)input.Below(256) }, BdevChange.Resized);
                break;
            case 4:
                SetMemory(port);
                break;
            default:
                port.Change(port.Info, BdevChange.Resized);
                break;
        }
    }

    private void Restart(FuzzInput input, int index, MemoryBdevPort port)
    {
        if (_started.Contains(index))
        {
            Stop(index, port);
        }

        var queue = _queues[index];
        var state = _format == VirtqueueFormat.Packed
            ? new VirtqueueState((ushort)input.Raw(), (ushort)input.Raw())
            : new VirtqueueState((ushort)input.Below(65536), (ushort)input.Below(65536));
        try
        {
            _reactor.Run(_session.StartQueueAsync(queue.Setup(state), CancellationToken.None));
            _started.Add(index);
        }
        catch (ArgumentException exception)
        {
            _seen.Add(exception.Message);
        }
    }

    private void Start(int index, GuestQueue queue, bool isNew)
    {
        if (isNew)
        {
            _queues.Insert(index, queue);
        }

        try
        {
            _reactor.Run(_session.StartQueueAsync(queue.Setup(), CancellationToken.None));
            _started.Add(index);
        }
        catch (ArgumentException exception) when (!isNew)
        {
            _seen.Add(exception.Message);
        }
    }

    private void Stop(int index, MemoryBdevPort port)
    {
        var stop = Wait(_session.StopQueueAsync(index, CancellationToken.None), port);
        Require(stop.AbandonedRequestCount == 0, "requests were given up although the bdev has done them all");
        _started.Remove(index);
    }

    /// <summary>Waits for something that may need all requests to be done: a bdev that takes its time does what waits now.</summary>
    private T Wait<T>(ValueTask<T> task, MemoryBdevPort port)
    {
        var waited = task.AsTask();
        _reactor.TurnUntil(
            () =>
            {
                _reactor.Invoke(() => port.CompletePending());
                return waited.IsCompleted;
            },
            TimeSpan.FromSeconds(60));
        return waited.GetAwaiter().GetResult();
    }

    private void Turn(int turns)
    {
        for (; turns >= 0; turns--)
        {
            _reactor.Turn();
        }
    }

    private void Collect(int index)
    {
        for (var taken = 0; taken < 4 * QueueSize && _queues[index].Driver.TryGetUsed(out _, out var written); taken++)
        {
            _seen.Add("used", written);
        }
    }

    /// <summary>Ends everything in an orderly way; then another driver comes, and must be served.</summary>
    private void End(MemoryBdevPort port)
    {
        foreach (var index in _started.ToArray())
        {
            Stop(index, port);
        }

        foreach (var (_, reason) in _frontEnd.BrokenQueues)
        {
            _seen.Add(reason);
        }

        port.IsDeferring = false;
        port.Fault = null;
        _session.ResetDevice();
        _session.SetFeatures(_features);
        SetMemory(port);
        var (queue, request, answerBytes) = GoodRequest;
        var fresh = new GuestQueue(_ram, _format, QueueSize, _features, 0, queue);
        _reactor.Run(_session.StartQueueAsync(fresh.Setup(), CancellationToken.None));
        request.CopyTo(_ram.Span(_buffers, request.Length));
        var answer = _buffers + 0x8000;
        _ram.Span(answer, answerBytes).Fill(0xee);
        Require(fresh.Driver.TryAdd([new DriverSegment(_buffers, (uint)request.Length)], [new DriverSegment(answer, (uint)answerBytes)], 1), "the fresh ring has no room");
        fresh.Driver.Publish();
        _reactor.TurnUntil(() => fresh.Driver.TryGetUsed(out _, out _), TimeSpan.FromSeconds(60));
        Require(IsGood(_ram.Span(answer, answerBytes)), "the next driver is not served");
        _ = _reactor.Run(_session.StopQueueAsync(queue, CancellationToken.None));
    }

    private void SetMemory(MemoryBdevPort port)
    {
        var rings = _started.ToDictionary(index => index, index => _queues[index].Addresses);
        Require(Wait(_session.SetMemoryAsync(_ram.Map, rings, CancellationToken.None), port) == 0, "memory stays in use although the bdev has done all requests");
    }
}
