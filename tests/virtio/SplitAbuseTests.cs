using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>What a hostile driver can write into a split ring, field by field.</summary>
public sealed unsafe class SplitAbuseTests
{
    private const ushort Next = RingLayout.FlagNext;
    private const ushort Write = RingLayout.FlagWrite;
    private const ushort Indirect = RingLayout.FlagIndirect;
    private const ulong Ram = Bench.RamBase + 0x8_0000;

    [Fact]
    public void Available_index_past_the_ring_breaks_the_queue() =>
        AssertBroken(ChainFault.AvailableIndexPastRing, 0, bench => Offer(bench, 17, 0));

    [Fact]
    public void Head_that_does_not_exist_breaks_the_queue() =>
        AssertBroken(ChainFault.HeadOutOfRange, 0, bench => Offer(bench, 1, 16));

    [Fact]
    public void Next_that_does_not_exist_breaks_the_queue() =>
        AssertBroken(ChainFault.NextOutOfRange, 0, bench =>
        {
            Descriptor(bench, 0, Ram, 16, Next, 16);
            Offer(bench, 1, 0);
        });

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Loop_breaks_the_queue(ushort backTo) =>
        AssertBroken(ChainFault.DescriptorLoop, 0, bench =>
        {
            Descriptor(bench, 0, Ram, 16, Next, 1);
            Descriptor(bench, 1, Ram, 16, Next | Write, backTo);
            Offer(bench, 1, 0);
        });

    [Fact]
    public void Indirect_without_the_feature_breaks_the_queue() =>
        AssertBroken(ChainFault.IndirectNotNegotiated, 0, bench =>
        {
            Descriptor(bench, 0, Ram, 16, Indirect, 0);
            Offer(bench, 1, 0);
        });

    [Theory]
    [InlineData(0U)]
    [InlineData(15U)]
    [InlineData(17U)]
    [InlineData(1025U * 16)]
    [InlineData(uint.MaxValue - 15)]
    public void Table_of_impossible_length_breaks_the_queue(uint length) =>
        AssertBroken(ChainFault.IndirectLength, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, Ram, length, Indirect, 0);
            Offer(bench, 1, 0);
        });

    [Theory]
    [InlineData(0UL)]
    [InlineData(Bench.RamBase - 8)]
    [InlineData(Bench.RamBase + (4 << 20) - 8)]
    [InlineData(0x1_0000_fff8UL)]
    [InlineData(ulong.MaxValue - 7)]
    public void Table_outside_memory_breaks_the_queue(ulong address) =>
        AssertBroken(ChainFault.IndirectAddress, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, address, 32, Indirect, 0);
            Offer(bench, 1, 0);
        });

    [Fact]
    public void Table_within_a_table_breaks_the_queue() =>
        AssertBroken(ChainFault.NestedIndirect, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, Ram, 32, Indirect, 0);
            Entry(bench.Ram.Host(Ram), 0, Ram, 32, Indirect, 0);
            Offer(bench, 1, 0);
        });

    [Fact]
    public void Table_with_next_breaks_the_queue() =>
        AssertBroken(ChainFault.IndirectWithNext, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, Ram, 32, Indirect | Next, 1);
            Offer(bench, 1, 0);
        });

    [Fact]
    public void Loop_and_stray_next_within_a_table_break_the_queue()
    {
        AssertBroken(ChainFault.DescriptorLoop, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, Ram, 32, Indirect, 0);
            Entry(bench.Ram.Host(Ram), 0, Ram, 8, Next, 1);
            Entry(bench.Ram.Host(Ram), 1, Ram, 8, Next, 0);
            Offer(bench, 1, 0);
        });
        AssertBroken(ChainFault.NextOutOfRange, VirtioFeatures.IndirectDescriptors, bench =>
        {
            Descriptor(bench, 0, Ram, 32, Indirect, 0);
            Entry(bench.Ram.Host(Ram), 0, Ram, 8, Next, 2);
            Offer(bench, 1, 0);
        });
    }

    [Fact]
    public void More_requests_than_entries_break_the_queue()
    {
        using var bench = new Bench();
        bench.Handler.KeepsRequests = true;
        bench.Start();
        Descriptor(bench, 0, Ram, 16, 0, 0);
        Offer(bench, 16, 0);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal(16, bench.Handler.KeptCount);
        Assert.Empty(bench.FrontEnd.BrokenQueues);
        // The same head again and again, although none was given back.
        Offer(bench, 17, 0);
        Assert.Equal(ChainFault.TooManyRequests.Describe(), bench.BrokenReason());
        // What is under way is still completed into the ring.
        bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, 16)]));
        Assert.Equal(16, *(ushort*)(bench.Queue.Memory.Device + 2));
        Assert.Equal(0, bench.Stop().AbandonedRequestCount);
    }

    [Theory]
    [InlineData(Bench.RamBase - 1, 2U, ChainFault.AddressOutOfRange)]
    [InlineData(0UL, 1U, ChainFault.AddressOutOfRange)]
    [InlineData(ulong.MaxValue, 2U, ChainFault.AddressOutOfRange)]
    [InlineData(0x1_0000_ffffUL, 2U, ChainFault.AddressOutOfRange)]
    [InlineData(0x1_0000_0000UL, uint.MaxValue, ChainFault.AddressOutOfRange)]
    [InlineData(Ram, 0U, ChainFault.ZeroLength)]
    public void A_bad_descriptor_fails_its_request_only(ulong address, uint length, ChainFault fault)
    {
        using var bench = new Bench().Start();
        foreach (var flags in new ushort[] { Next, Next | Write })
        {
            var used = *(ushort*)(bench.Queue.Memory.Device + 2);
            Descriptor(bench, 0, address, length, flags, 1);
            Descriptor(bench, 1, Ram + 64, 4, Write, 0);
            bench.Ram.Span(Ram + 64, 4).Fill(0x11);
            Offer(bench, (ushort)(used + 1), 0, used);
            bench.Reactor.TurnUntilIdle();
            Assert.Equal(used + 1, *(ushort*)(bench.Queue.Memory.Device + 2));
            // The echo device's error goes to the first byte of the last piece, and nothing else is written.
            Assert.Equal([0xee, 0x11, 0x11, 0x11], bench.Ram.Span(Ram + 64, 4).ToArray());
        }

        Assert.Equal([fault, fault], bench.Handler.Faults);
        Assert.Empty(bench.Handler.Shapes);
        Assert.Empty(bench.FrontEnd.BrokenQueues);
        Assert.Equal(2, bench.Session.GetQueue(0)!.Statistics.InvalidRequestCount);
    }

    [Fact]
    public void Readable_after_writable_fails_the_request()
    {
        using var bench = new Bench().Start();
        Descriptor(bench, 0, Ram, 8, Write | Next, 1);
        Descriptor(bench, 1, Ram, 8, Next, 2);
        Descriptor(bench, 2, Ram + 64, 4, Write, 0);
        Offer(bench, 1, 0);
        bench.Reactor.TurnUntilIdle();
        Assert.Equal([ChainFault.ReadableAfterWritable], bench.Handler.Faults);
        Assert.Equal(0xee, bench.Ram.Span(Ram + 64, 1)[0]);
    }

    [Fact]
    public void A_request_that_cannot_be_answered_breaks_the_queue() =>
        AssertBroken(ChainFault.AddressOutOfRange, 0, bench =>
        {
            Descriptor(bench, 0, Ram, 8, Next, 1);
            Descriptor(bench, 1, 0, 1, Write, 0);
            Offer(bench, 1, 0);
        });

    [Fact]
    public void A_broken_queue_can_be_stopped_and_started_again()
    {
        using var bench = new Bench().Start();
        Offer(bench, 1, 99);
        Assert.Equal(ChainFault.HeadOutOfRange.Describe(), bench.BrokenReason());
        Assert.Equal(new VirtqueueStop(default, 0), bench.Stop());
        Offer(bench, 0, 0);
        bench.Start();
        Assert.Equal(3U, bench.Echo([1, 2, 3], 3, out _));
    }

    private static void AssertBroken(ChainFault fault, ulong features, Action<Bench> attack)
    {
        using var bench = new Bench(features: features).Start();
        attack(bench);
        Assert.Equal(fault.Describe(), bench.BrokenReason());
        Assert.Equal(0, bench.Handler.HandledCount);
        Assert.Equal(0, *(ushort*)(bench.Queue.Memory.Device + 2));
        // It is the queue that is broken and nothing else: another one of the same session works.
        var other = new Testing.GuestQueue(bench.Ram, VirtqueueFormat.Split, 8, bench.Features, index: 1);
        bench.Reactor.Run(bench.Session.StartQueueAsync(other.Setup(), TestContext.Current.CancellationToken));
        Assert.True(other.Driver.TryAdd([new DriverSegment(Ram, 4)], [], 1));
        other.Driver.Publish();
        bench.Reactor.TurnUntil(() => other.Driver.HasUsed);
        Assert.Single(bench.FrontEnd.BrokenQueues);
    }

    private static void Descriptor(Bench bench, int index, ulong address, uint length, ushort flags, ushort next) =>
        Entry(bench.Queue.Memory.Descriptors, index, address, length, flags, next);

    private static void Entry(byte* table, int index, ulong address, uint length, ushort flags, ushort next)
    {
        *(ulong*)(table + (index * 16)) = address;
        *(uint*)(table + (index * 16) + 8) = length;
        *(ushort*)(table + (index * 16) + 12) = flags;
        *(ushort*)(table + (index * 16) + 14) = next;
    }

    private static void Offer(Bench bench, ushort availableIndex, ushort head, int slot = 0)
    {
        *(ushort*)(bench.Queue.Memory.Driver + 4 + (2 * (slot % 16))) = head;
        Volatile.Write(ref *(ushort*)(bench.Queue.Memory.Driver + 2), availableIndex);
    }
}
