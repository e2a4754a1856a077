using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Soak.Tests;

/// <summary>Which disk a guest uses, and how.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Socket">The controller's socket.</param>
/// <param name="ScsiTarget">The target, or -1 for blk.</param>
/// <param name="MayFail">Whether the disk is one that fails on purpose.</param>
internal sealed record GuestDisk(string Name, string Socket, int ScsiTarget, bool MayFail);

/// <summary>
/// A guest that comes and goes: it connects in one way or another, reads and writes what it knows, and leaves in an orderly way or in the middle of everything.
/// It checks each byte that it reads. One thread.
/// </summary>
internal sealed class SoakGuest(GuestDisk disk, int seed)
{
    private const int PlaceCount = 2048;
    private const int PlaceBytes = 4096;
    private const int MaxDepth = 16;
    private const int StallMilliseconds = 90_000;
    private const byte CheckCondition = 2;
    private const byte UnitAttention = 6;

    private readonly Random _random = new(seed);
    private readonly DiskRecord _record = new(PlaceCount, PlaceBytes);
    private readonly int[] _places = new int[MaxDepth];
    private readonly bool[] _isWrite = new bool[MaxDepth];

    /// <summary>Requests that were done.</summary>
    public long Requests { get; private set; }

    /// <summary>Bytes that were read and right.</summary>
    public long VerifiedBytes { get; private set; }

    /// <summary>Requests that the disk failed on purpose.</summary>
    public long Failures { get; private set; }

    /// <summary>Connections.</summary>
    public long Connections { get; private set; }

    /// <summary>The disk.</summary>
    public GuestDisk Disk => disk;

    /// <summary>Runs until it is told to end.</summary>
    public void Run(CancellationToken ending)
    {
        while (!ending.IsCancellationRequested)
        {
            Connect(TimeSpan.FromMilliseconds(_random.Next(50, 2500)), isOrderly: _random.Next(2) == 0, ending);
        }
    }

    /// <summary>Reads all that was ever written, after everything else.</summary>
    public void CheckAll()
    {
        using var memory = new GuestMemory(0, 8 << 20);
        using var device = Open(memory, Options(VirtqueueFormat.Split, hasInterrupts: false));
        var requests = MakeRequests(device);
        for (var place = 0; place < PlaceCount; place++)
        {
            for (var attempt = 0; !requests.Execute(device.RequestQueue(0), 0, isWrite: false, Block(requests, place), PlaceBytes); attempt++)
            {
                Require((disk.MayFail || IsUnitAttention(requests, 0)) && attempt < 1000, requests.DescribeResult(0));
            }

            Verify(requests, 0, place);
        }

        device.Stop();
    }

    private static ulong Block(BlockRequests requests, int place) => (ulong)place * (ulong)(PlaceBytes / requests.BlockSizeBytes);

    private static bool IsUnitAttention(BlockRequests requests, int slot) =>
        requests is VirtioScsiRequests scsi && scsi.Response(slot) == 0 && scsi.Status(slot) == CheckCondition && (scsi.Sense(slot)[2] & 0xf) == UnitAttention;

    private FrontEndOptions Options(VirtqueueFormat format, bool hasInterrupts) => new()
    {
        Format = format,
        QueueSize = 64,
        QueueCount = 1,
        FirstRequestQueue = disk.ScsiTarget < 0 ? 0 : VirtioScsiRequests.FirstRequestQueue,
        HasInterrupts = hasInterrupts,
    };

    /// <summary>Connects. A controller serves one front-end at a time: while a stranger is there, or the last session ends, others are turned away.</summary>
    private FrontEndDevice Open(GuestMemory memory, FrontEndOptions options)
    {
        for (var begin = Environment.TickCount64; ;)
        {
            try
            {
                return FrontEndDevice.Connect(disk.Socket, memory, options);
            }
            catch (Exception exception) when (exception is FrontEndException { IsClosed: true } or LinuxException && Environment.TickCount64 - begin < StallMilliseconds)
            {
                Thread.Sleep(20);
            }
        }
    }

    private BlockRequests MakeRequests(FrontEndDevice device) =>
        disk.ScsiTarget < 0 ? new VirtioBlkRequests(device, MaxDepth, PlaceBytes) : new VirtioScsiRequests(device, MaxDepth, PlaceBytes, (byte)disk.ScsiTarget);

    private void Connect(TimeSpan time, bool isOrderly, CancellationToken ending)
    {
        Connections++;
        using var memory = new GuestMemory(0, 8 << 20);
        using var device = Open(memory, Options(_random.Next(2) == 0 ? VirtqueueFormat.Split : VirtqueueFormat.Packed, _random.Next(2) == 0));
        var requests = MakeRequests(device);
        var queue = device.RequestQueue(0);
        var depth = _random.Next(1, MaxDepth + 1);
        var readPercent = _random.Next(0, 101);
        var underWay = 0;
        for (var slot = 0; slot < depth; slot++, underWay++)
        {
            Submit(requests, queue, slot, readPercent);
        }

        queue.Publish();
        var begin = Stopwatch.GetTimestamp();
        var lastWork = Environment.TickCount64;
        while (underWay > 0)
        {
            var isOver = Stopwatch.GetElapsedTime(begin) > time || ending.IsCancellationRequested;
            if (isOver && !isOrderly)
            {
                // What is under way stays unknown.
                break;
            }

            if (!queue.Ring.TryGetUsed(out var token, out _))
            {
                Require(queue.Ring.BrokenReason is null, $"the queue is broken: {queue.Ring.BrokenReason}");
                Require(Environment.TickCount64 - lastWork < StallMilliseconds, $"nothing came back for {StallMilliseconds / 1000} s");
                Thread.Yield();
                continue;
            }

            lastWork = Environment.TickCount64;
            Finish(requests, queue, (int)token, isOver ? -1 : readPercent, ref underWay);
            queue.Publish();
        }

        for (var slot = 0; slot < depth; slot++)
        {
            _record.Release(_places[slot]);
        }

        if (isOrderly)
        {
            device.Stop();
        }
    }

    private void Finish(BlockRequests requests, FrontEndQueue queue, int slot, int readPercent, ref int underWay)
    {
        if (!requests.IsSuccess(slot))
        {
            if (!disk.MayFail)
            {
                Require(IsUnitAttention(requests, slot), requests.DescribeResult(slot));
            }

            Failures += disk.MayFail ? 1 : 0;
            if (IsUnitAttention(requests, slot))
            {
                // Nothing was done: the same again.
                Require(requests.TryAdd(queue.Ring, slot, _isWrite[slot], Block(requests, _places[slot]), PlaceBytes), "the ring has no room");
                return;
            }
        }
        else if (_isWrite[slot])
        {
            _record.Acknowledge(_places[slot]);
        }
        else
        {
            Verify(requests, slot, _places[slot]);
        }

        Requests++;
        _record.Release(_places[slot]);
        if (readPercent < 0)
        {
            underWay--;
        }
        else
        {
            Submit(requests, queue, slot, readPercent);
        }
    }

    private void Submit(BlockRequests requests, FrontEndQueue queue, int slot, int readPercent)
    {
        do
        {
            _places[slot] = _random.Next(PlaceCount);
        }
        while (!_record.TryTake(_places[slot]));

        _isWrite[slot] = _random.Next(100) >= readPercent;
        if (_isWrite[slot])
        {
            _record.Fill(_places[slot], requests.Data(slot).Slice(0, PlaceBytes).Span);
        }

        Require(requests.TryAdd(queue.Ring, slot, _isWrite[slot], Block(requests, _places[slot]), PlaceBytes), "the ring has no room");
    }

    private void Verify(BlockRequests requests, int slot, int place)
    {
        var fault = _record.Check(place, requests.Data(slot).Slice(0, PlaceBytes).Span);
        Require(fault is null, $"wrong data: {fault}");
        VerifiedBytes += PlaceBytes;
    }

    private void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException($"{disk.Name}: {what}");
        }
    }
}
