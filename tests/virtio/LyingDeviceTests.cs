using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Virtio.Tests;

/// <summary>What a hostile device can write into a ring, and what the driver makes of it.</summary>
public sealed unsafe class LyingDeviceTests
{
    private const ulong Base = 0x10_0000;
    private const uint ReadableBytes = 8;

    [Theory]
    [InlineData(3U)] // never sent
    [InlineData(16U)]
    [InlineData(uint.MaxValue)]
    public void Split_id_that_was_not_sent(uint id)
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Split);
        SplitUsed(queue, 0, id, 0);
        AssertBroken(queue, "does not have");
    }

    [Fact]
    public void Split_id_twice()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Split);
        SplitUsed(queue, 0, 0, 8);
        Assert.True(queue.Driver.TryGetUsed(out var token, out var written));
        Assert.Equal((100UL, 8U), (token, written));
        SplitUsed(queue, 1, 0, 8);
        AssertBroken(queue, "does not have");
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public void More_written_than_there_was_room_for(VirtqueueFormat format)
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, format);
        if (format == VirtqueueFormat.Split)
        {
            SplitUsed(queue, 0, 0, 9);
        }
        else
        {
            PackedUsed(queue, 0, 0, 9);
        }

        AssertBroken(queue, "wrote 9 bytes where there was room for 8");
    }

    [Fact]
    public void A_device_that_counts_what_it_read_is_believed_only_where_that_is_known()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Split, allowsCountOfReadableBytes: true);
        SplitUsed(queue, 0, 0, ReadableBytes + 8);
        Assert.True(queue.Driver.TryGetUsed(out _, out var written));
        Assert.Equal(ReadableBytes + 8, written);

        using var other = new GuestRam((Base, 1 << 20));
        queue = Sent(other, VirtqueueFormat.Split, allowsCountOfReadableBytes: true);
        SplitUsed(queue, 0, 0, ReadableBytes + 9);
        AssertBroken(queue, $"wrote {ReadableBytes + 9} bytes where there was room for {ReadableBytes + 8}");
    }

    [Fact]
    public void Split_used_index_that_runs_ahead()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Split);
        *(ushort*)(queue.Memory.Device + 2) = 3;
        AssertBroken(queue, "3 results where 2 requests");
        var behind = Sent(ram, VirtqueueFormat.Split);
        *(ushort*)(behind.Memory.Device + 2) = 0xffff;
        AssertBroken(behind, "65535 results");
    }

    [Theory]
    [InlineData((ushort)2)]
    [InlineData((ushort)16)]
    [InlineData(ushort.MaxValue)]
    public void Packed_id_that_was_not_sent(ushort id)
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Packed);
        PackedUsed(queue, 0, id, 0);
        AssertBroken(queue, "does not have");
    }

    [Fact]
    public void Packed_id_twice()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Packed);
        PackedUsed(queue, 0, 0, 8);
        Assert.True(queue.Driver.TryGetUsed(out var token, out _));
        Assert.Equal(100UL, token);
        PackedUsed(queue, 2, 0, 8);
        AssertBroken(queue, "does not have");
    }

    [Fact]
    public void What_the_device_writes_into_descriptors_does_not_matter()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = Sent(ram, VirtqueueFormat.Split);
        new Span<byte>(queue.Memory.Descriptors, 256).Fill(0xff);
        SplitUsed(queue, 0, 2, 8);
        Assert.True(queue.Driver.TryGetUsed(out var token, out _));
        Assert.Equal(101UL, token);
        Assert.Equal(14, queue.Driver.FreeCount);
        for (var i = 0; i < 14; i++)
        {
            Assert.True(queue.Driver.TryAdd([new DriverSegment(Base, 1)], [], 0));
        }

        Assert.False(queue.Driver.TryAdd([new DriverSegment(Base, 1)], [], 0));
    }

    [Fact]
    public void A_request_that_can_never_fit_is_refused()
    {
        using var ram = new GuestRam((Base, 1 << 20));
        var queue = new GuestQueue(ram, VirtqueueFormat.Split, 16, 0);
        Assert.Throws<ArgumentException>(() => queue.Driver.TryAdd(new DriverSegment[17], [], 0));
        Assert.Throws<ArgumentException>(() => queue.Driver.TryAdd([], [], 0));
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split, 1024, 0)]
    [InlineData(VirtqueueFormat.Split, 16, 1024)]
    [InlineData(VirtqueueFormat.Packed, 1024, 0)]
    [InlineData(VirtqueueFormat.Packed, 16, 1024)]
    public void Long_chains_take_storage_that_is_used_again(VirtqueueFormat format, int size, int tableEntries)
    {
        using var bench = new Bench(format, size, tableEntries == 0 ? 0 : VirtioFeatures.IndirectDescriptors, tableEntries).Start();
        foreach (var pieces in new[] { 1, 8, 9, 33, 500, 1000, 9, 1000 })
        {
            var source = bench.Ram.Allocate((ulong)pieces * 2);
            var target = bench.Ram.Allocate((ulong)pieces);
            var readable = Enumerable.Range(0, pieces).Select(i => new DriverSegment(source + ((ulong)i * 2), 1)).ToArray();
            for (var i = 0; i < pieces; i++)
            {
                bench.Ram.Span(source + ((ulong)i * 2), 1)[0] = (byte)i;
            }

            Assert.True(bench.Driver.TryAdd(readable, [new DriverSegment(target, (uint)pieces)], 1));
            bench.Driver.Publish();
            uint written = 0;
            bench.Reactor.TurnUntil(() => bench.Driver.TryGetUsed(out _, out written));
            Assert.Equal((uint)pieces, written);
            Assert.Equal(Enumerable.Range(0, pieces).Select(i => (byte)~i), bench.Ram.Span(target, pieces).ToArray());
            Assert.Equal((pieces, 1), (bench.Handler.Shapes[^1].Readable, bench.Handler.Shapes[^1].Writable));
        }
    }

    /// <summary>Two requests of two descriptors each: ids 0 and 2 (split), 0 and 1 (packed).</summary>
    private static GuestQueue Sent(GuestRam ram, VirtqueueFormat format, bool allowsCountOfReadableBytes = false)
    {
        var queue = new GuestQueue(ram, format, 16, 0);
        queue.Driver.AllowsCountOfReadableBytes = allowsCountOfReadableBytes;
        for (ulong i = 0; i < 2; i++)
        {
            Assert.True(queue.Driver.TryAdd([new DriverSegment(Base, ReadableBytes)], [new DriverSegment(Base + 8, 8)], 100 + i));
        }

        queue.Driver.Publish();
        Assert.False(queue.Driver.TryGetUsed(out _, out _));
        return queue;
    }

    private static void SplitUsed(GuestQueue queue, int slot, uint id, uint written)
    {
        *(uint*)(queue.Memory.Device + 4 + (8 * slot)) = id;
        *(uint*)(queue.Memory.Device + 8 + (8 * slot)) = written;
        *(ushort*)(queue.Memory.Device + 2) = (ushort)(slot + 1);
    }

    private static void PackedUsed(GuestQueue queue, int position, ushort id, uint written)
    {
        var descriptor = queue.Memory.Descriptors + (position * 16);
        *(uint*)(descriptor + 8) = written;
        *(ushort*)(descriptor + 12) = id;
        *(ushort*)(descriptor + 14) = RingLayout.FlagAvailable | RingLayout.FlagUsed;
    }

    private static void AssertBroken(GuestQueue queue, string reason)
    {
        Assert.False(queue.Driver.TryGetUsed(out _, out _));
        Assert.Contains(reason, queue.Driver.BrokenReason, StringComparison.Ordinal);
        // For good: nothing is believed any more.
        Assert.False(queue.Driver.TryGetUsed(out _, out _));
        Assert.False(queue.Driver.TryAdd([new DriverSegment(Base, 8)], [], 1));
    }
}
