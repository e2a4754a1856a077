using System.Runtime.InteropServices;
using CsCheck;
using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>In-flight areas and the dirty log.</summary>
public sealed unsafe class TrackingTests
{
    private const int Size = 16;

    /// <summary>Where a process may die while it gives results back.</summary>
    public enum CrashPoint
    {
        BetweenBatches,
        AfterPublishing,
        BeforePublishing,
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split, CrashPoint.BetweenBatches)]
    [InlineData(VirtqueueFormat.Split, CrashPoint.AfterPublishing)]
    [InlineData(VirtqueueFormat.Split, CrashPoint.BeforePublishing)]
    [InlineData(VirtqueueFormat.Packed, CrashPoint.BetweenBatches)]
    [InlineData(VirtqueueFormat.Packed, CrashPoint.AfterPublishing)]
    [InlineData(VirtqueueFormat.Packed, CrashPoint.BeforePublishing)]
    public void What_was_under_way_is_done_again_after_a_crash(VirtqueueFormat format, CrashPoint point) => Gen.Int[0, int.MaxValue].Sample(
        seed =>
        {
            var random = new Random(seed);
            using var bench = new Bench(format, Size);
            var areaBytes = (int)InFlightArea.RequiredBytes(format, Size);
            var area = (byte*)NativeMemory.AlignedAlloc((nuint)areaBytes, 64);
            NativeMemory.Clear(area, (nuint)areaBytes);
            var shared = new SharedArea((nint)area, (ulong)areaBytes);
            var underWay = new Dictionary<ulong, (ulong Target, byte Value)>();
            ulong next = 0;
            bench.Handler.KeepsRequests = true;
            for (var life = 0; life < 6; life++)
            {
                // The front-end only knows where the used ring stands; the area says the rest.
                var used = *(ushort*)(bench.Queue.Memory.Device + 2);
                bench.Start(format == VirtqueueFormat.Split ? new VirtqueueState(used, used) : null, shared);
                Assert.Equal(life == 0 ? 0 : underWay.Count, bench.Handler.KeptCount);
                for (var step = 0; step < 12; step++)
                {
                    Add(bench, random, underWay, ref next);
                    bench.Reactor.Turn();
                    Release(bench, random);
                    Reap(bench, underWay);
                    Assert.Equal(underWay.Count, bench.Handler.KeptCount);
                }

                Add(bench, random, underWay, ref next);
                bench.Reactor.Turn();
                CrashAt(point, bench, format, area, areaBytes, () => Release(bench, random));
                Reap(bench, underWay);
                bench.Crash();
            }

            bench.Start(format == VirtqueueFormat.Split ? new VirtqueueState(*(ushort*)(bench.Queue.Memory.Device + 2), *(ushort*)(bench.Queue.Memory.Device + 2)) : null, shared);
            bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, bench.Handler.KeptCount)]));
            Reap(bench, underWay);
            Assert.Empty(underWay);
            Assert.True(next > 20);
            bench.Stop();
            NativeMemory.AlignedFree(area);
        },
        iter: 40);

    /// <summary>A batch as long as the ring ends where it began, but for the wrap counter.</summary>
    [Theory]
    [InlineData(VirtqueueFormat.Split, CrashPoint.AfterPublishing, 0)]
    [InlineData(VirtqueueFormat.Split, CrashPoint.BeforePublishing, Size)]
    [InlineData(VirtqueueFormat.Packed, CrashPoint.AfterPublishing, 0)]
    [InlineData(VirtqueueFormat.Packed, CrashPoint.BeforePublishing, Size)]
    public void A_whole_ring_that_was_given_back_at_once_is_not_done_again(VirtqueueFormat format, CrashPoint point, int again)
    {
        using var bench = new Bench(format, Size);
        var areaBytes = (int)InFlightArea.RequiredBytes(format, Size);
        var area = (byte*)NativeMemory.AlignedAlloc((nuint)areaBytes, 64);
        NativeMemory.Clear(area, (nuint)areaBytes);
        bench.Handler.KeepsRequests = true;
        bench.Start(null, new SharedArea((nint)area, (ulong)areaBytes));
        var target = bench.Ram.Allocate(Size);
        for (var i = 0UL; i < Size; i++)
        {
            Assert.True(bench.Driver.TryAdd([], [new DriverSegment(target + i, 1)], i));
        }

        bench.Driver.Publish();
        bench.Reactor.TurnUntil(() => bench.Handler.KeptCount == Size);
        CrashAt(point, bench, format, area, areaBytes, () => bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, Size)])));
        var told = 0;
        while (bench.Driver.TryGetUsed(out _, out _))
        {
            told++;
        }

        Assert.Equal(Size - again, told);
        bench.Crash();
        var used = *(ushort*)(bench.Queue.Memory.Device + 2);
        bench.Start(format == VirtqueueFormat.Split ? new VirtqueueState(used, used) : null, new SharedArea((nint)area, (ulong)areaBytes));
        Assert.Equal(again, bench.Handler.KeptCount);

        // The ring goes on where it stands.
        bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, again)]));
        for (; again > 0; again--)
        {
            Assert.True(bench.Driver.TryGetUsed(out _, out _));
        }

        for (var i = 0UL; i < 3 * Size; i++)
        {
            Assert.True(bench.Driver.TryAdd([], [new DriverSegment(target, 1)], i));
            bench.Driver.Publish();
            bench.Reactor.TurnUntil(() => bench.Handler.KeptCount == 1);
            bench.Reactor.Invoke(() => bench.Handler.Release(0));
            Assert.True(bench.Driver.TryGetUsed(out var token, out _));
            Assert.Equal(i, token);
        }

        bench.Stop();
        NativeMemory.AlignedFree(area);
    }

    [Fact]
    public void Resubmission_keeps_the_order()
    {
        using var bench = new Bench(size: Size);
        var areaBytes = (int)InFlightArea.RequiredBytes(VirtqueueFormat.Split, Size);
        var area = NativeMemory.AlignedAlloc((nuint)areaBytes, 64);
        NativeMemory.Clear(area, (nuint)areaBytes);
        bench.Handler.KeepsRequests = true;
        bench.Start(null, new SharedArea((nint)area, (ulong)areaBytes));
        var buffer = bench.Ram.Allocate(64);
        for (uint i = 1; i <= 4; i++)
        {
            bench.Driver.TryAdd([new DriverSegment(buffer, i)], [], i);
        }

        bench.Driver.Publish();
        bench.Reactor.Turn();
        // The first one comes back, and its descriptor is used for the fifth request: the order is not that of the descriptors.
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        Assert.True(bench.Driver.TryGetUsed(out _, out _));
        bench.Driver.TryAdd([new DriverSegment(buffer, 5)], [], 5);
        bench.Driver.Publish();
        bench.Reactor.Turn();
        bench.Crash();
        bench.Start(new VirtqueueState(1, 1), new SharedArea((nint)area, (ulong)areaBytes));
        Assert.Equal([2UL, 3UL, 4UL, 5UL], bench.Handler.Shapes.Select(shape => shape.ReadableBytes));
        bench.Reactor.Invoke(() => bench.Handler.Release(0, 1, 2, 3));
        Assert.Equal(new VirtqueueStop(new VirtqueueState(5, 5), 0), bench.Stop());
        NativeMemory.AlignedFree(area);
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void A_senseless_area_breaks_the_queue_and_nothing_else(VirtqueueFormat format) => Gen.Int[0, int.MaxValue].Sample(
        seed =>
        {
            var random = new Random(seed);
            using var bench = new Bench(format, Size);
            var areaBytes = (int)InFlightArea.RequiredBytes(format, Size);
            var area = (byte*)NativeMemory.AlignedAlloc((nuint)areaBytes + 64, 64);
            var bytes = new Span<byte>(area, areaBytes);
            random.NextBytes(bytes);
            new Span<byte>(area + areaBytes, 64).Fill(0x5a);
            if (random.Next(4) != 0)
            {
                *(ushort*)(area + 8) = 1;
                *(ushort*)(area + 10) = Size;
                var step = format == VirtqueueFormat.Split ? 16 : 32;
                for (var i = step; i < areaBytes; i += step)
                {
                    area[i] = (byte)random.Next(2);
                    *(ushort*)(area + i + 6) = (ushort)random.Next(4);
                    *(ushort*)(area + i + 2) = (ushort)random.Next(Size + 1);
                }

                *(ushort*)(area + 14) = (ushort)random.Next(3);
                *(ushort*)(area + 16) = (ushort)random.Next(Size);
                *(ushort*)(area + 18) = (ushort)random.Next(Size);
            }

            bench.Start(null, new SharedArea((nint)area, (ulong)areaBytes));
            bench.Reactor.TurnUntilIdle();
            bench.Stop();
            Assert.False(new Span<byte>(area + areaBytes, 64).ContainsAnyExcept((byte)0x5a));
            NativeMemory.AlignedFree(area);
        },
        iter: 200);

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void The_log_has_exactly_the_pages_that_were_written(VirtqueueFormat format)
    {
        using var bench = new Bench(format, Size);
        const int LogBytes = 256;
        var log = (byte*)NativeMemory.AlignedAlloc(LogBytes, 64);
        NativeMemory.Clear(log, LogBytes);
        bench.Start(null, default, new SharedArea((nint)log, LogBytes));
        var source = Bench.RamBase + 0x10_0000;
        var target = Bench.RamBase + 0x20_0000;
        var expected = new HashSet<ulong> { bench.Queue.UsedGuestAddress >> 12 };
        // Across a page border, within one page, and in the last page of the second region; what is only read is not marked.
        DriverSegment[] pieces = [new(target + 4095, 2), new(target + 0x5010, 16), new(Bench.RamBase + (5 << 20) - 1, 1)];
        foreach (var piece in pieces)
        {
            expected.Add(piece.Address >> 12);
            expected.Add((piece.Address + piece.LengthBytes - 1) >> 12);
        }

        Assert.True(bench.Driver.TryAdd([new DriverSegment(source, 64)], pieces, 1));
        bench.Driver.Publish();
        bench.Reactor.TurnUntil(() => bench.Driver.HasUsed);
        var marked = Enumerable.Range(0, LogBytes * 8).Where(page => (log[page / 8] >> (page % 8) & 1) != 0).Select(page => (ulong)page);
        Assert.Equal(expected.Order(), marked);
        bench.Stop();
        NativeMemory.AlignedFree(log);
    }

    private static void Add(Bench bench, Random random, Dictionary<ulong, (ulong Target, byte Value)> underWay, ref ulong next)
    {
        while (random.Next(4) != 0)
        {
            var source = Bench.RamBase + 0x10_0000 + (next % 64 * 16);
            bench.Ram.Span(source, 1)[0] = (byte)random.Next(256);
            var value = (byte)~bench.Ram.Span(source, 1)[0];
            if (underWay.Count >= 7 || !bench.Driver.TryAdd([new DriverSegment(source, 1)], [new DriverSegment(source + 8, 1)], next))
            {
                break;
            }

            underWay.Add(next, (source + 8, value));
            next++;
        }

        bench.Driver.Publish();
    }

    private static void Release(Bench bench, Random random)
    {
        var order = Enumerable.Range(0, bench.Handler.KeptCount).Where(_ => random.Next(3) == 0).ToArray();
        random.Shuffle(order);
        bench.Reactor.Invoke(() => bench.Handler.Release(order));
    }

    private static void Reap(Bench bench, Dictionary<ulong, (ulong Target, byte Value)> underWay)
    {
        while (bench.Driver.TryGetUsed(out var token, out var written))
        {
            Assert.Equal(1U, written);
            Assert.True(underWay.Remove(token, out var expected));
            Assert.Equal(expected.Value, bench.Ram.Span(expected.Target, 1)[0]);
        }

        Assert.Null(bench.Driver.BrokenReason);
    }

    private static void CrashAt(CrashPoint point, Bench bench, VirtqueueFormat format, byte* area, int areaBytes, Action release)
    {
        if (point == CrashPoint.BetweenBatches)
        {
            return;
        }

        var before = new Span<byte>(area, areaBytes).ToArray();
        var ring = new Span<byte>(bench.Queue.Memory.Descriptors, Size * 16).ToArray();
        var device = new Span<byte>(bench.Queue.Memory.Device, format == VirtqueueFormat.Packed ? 4 : 6 + (8 * Size)).ToArray();
        release();
        // The steps that follow publishing did not happen: the marks are still there, and the old position.
        if (format == VirtqueueFormat.Split)
        {
            before.AsSpan(14, 2).CopyTo(new Span<byte>(area + 14, 2));
            for (var i = 16; i < areaBytes; i += 16)
            {
                area[i] = before[i];
            }
        }
        else
        {
            before.AsSpan(14, 2).CopyTo(new Span<byte>(area + 14, 2));
            before.AsSpan(18, 2).CopyTo(new Span<byte>(area + 18, 2));
            area[21] = before[21];
            for (var i = 32; i < areaBytes; i += 32)
            {
                area[i] = before[i];
            }
        }

        if (point == CrashPoint.BeforePublishing)
        {
            ring.CopyTo(new Span<byte>(bench.Queue.Memory.Descriptors, ring.Length));
            device.CopyTo(new Span<byte>(bench.Queue.Memory.Device, device.Length));
        }
    }
}
