using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>What a hostile driver can write into a packed ring.</summary>
public sealed unsafe class PackedAbuseTests
{
    private const ushort Available = RingLayout.FlagAvailable;
    private const ulong Ram = Bench.RamBase + 0x8_0000;

    [Fact]
    public void A_chain_as_long_as_the_ring_that_goes_on_breaks_the_queue() =>
        AssertBroken(ChainFault.PackedWrapCounter, 0, bench =>
        {
            for (var i = 15; i >= 0; i--)
            {
                Descriptor(bench, i, Ram, 8, Available | RingLayout.FlagNext);
            }
        });

    [Fact]
    public void A_chain_into_what_is_not_available_breaks_the_queue() =>
        AssertBroken(ChainFault.PackedWrapCounter, 0, bench => Descriptor(bench, 0, Ram, 8, Available | RingLayout.FlagNext));

    [Fact]
    public void Entries_that_are_under_way_may_not_be_offered_again()
    {
        using var bench = new Bench(VirtqueueFormat.Packed);
        bench.Handler.KeepsRequests = true;
        bench.Start();
        for (var i = 0; i < 16; i++)
        {
            Descriptor(bench, i, Ram, 8, Available);
        }

        bench.Reactor.TurnUntilIdle();
        Assert.Equal(16, bench.Handler.KeptCount);
        bench.Reactor.Invoke(() => bench.Handler.Release(0));
        // The second lap has the wrap counter 0: two entries although one is free.
        Descriptor(bench, 1, Ram, 8, RingLayout.FlagUsed);
        Descriptor(bench, 0, Ram, 8, RingLayout.FlagUsed | RingLayout.FlagNext);
        Assert.Equal(ChainFault.PackedOverrun.Describe(), bench.BrokenReason());
        Assert.Equal(15, bench.Handler.KeptCount);
        bench.Reactor.Invoke(() => bench.Handler.Release([.. Enumerable.Range(0, 15)]));
        Assert.Equal(0, bench.Stop().AbandonedRequestCount);
    }

    [Theory]
    [InlineData(0U)]
    [InlineData(24U)]
    [InlineData(16U * 1025)]
    public void Table_of_impossible_length_breaks_the_queue(uint length) =>
        AssertBroken(ChainFault.IndirectLength, VirtioFeatures.IndirectDescriptors, bench =>
            Descriptor(bench, 0, Ram, length, Available | RingLayout.FlagIndirect));

    [Fact]
    public void Table_within_a_table_breaks_the_queue() =>
        AssertBroken(ChainFault.NestedIndirect, VirtioFeatures.IndirectDescriptors, bench =>
        {
            *(ushort*)(bench.Ram.Host(Ram) + 14) = RingLayout.FlagIndirect;
            *(ulong*)bench.Ram.Host(Ram) = Ram;
            *(uint*)(bench.Ram.Host(Ram) + 8) = 16;
            Descriptor(bench, 0, Ram, 16, Available | RingLayout.FlagIndirect);
        });

    [Fact]
    public void Table_outside_memory_or_with_next_or_unasked_breaks_the_queue()
    {
        AssertBroken(ChainFault.IndirectAddress, VirtioFeatures.IndirectDescriptors, bench =>
            Descriptor(bench, 0, Bench.RamBase - 16, 32, Available | RingLayout.FlagIndirect));
        AssertBroken(ChainFault.IndirectWithNext, VirtioFeatures.IndirectDescriptors, bench =>
            Descriptor(bench, 0, Ram, 32, Available | RingLayout.FlagIndirect | RingLayout.FlagNext));
        AssertBroken(ChainFault.IndirectNotNegotiated, 0, bench =>
            Descriptor(bench, 0, Ram, 32, Available | RingLayout.FlagIndirect));
    }

    [Fact]
    public void Flags_of_the_wrong_lap_are_nothing_new()
    {
        using var bench = new Bench(VirtqueueFormat.Packed).Start();
        foreach (var flags in new ushort[] { 0, RingLayout.FlagUsed, RingLayout.FlagUsed | Available })
        {
            Descriptor(bench, 0, Ram, 8, flags);
            bench.Reactor.TurnUntilIdle();
        }

        Assert.Equal(0, bench.Handler.HandledCount);
        Assert.Empty(bench.FrontEnd.BrokenQueues);
    }

    private static void AssertBroken(ChainFault fault, ulong features, Action<Bench> attack)
    {
        using var bench = new Bench(VirtqueueFormat.Packed, features: features).Start();
        attack(bench);
        Assert.Equal(fault.Describe(), bench.BrokenReason());
        Assert.Equal(0, bench.Handler.HandledCount);
        Assert.Single(bench.FrontEnd.BrokenQueues);
    }

    private static void Descriptor(Bench bench, int index, ulong address, uint length, ushort flags)
    {
        var descriptor = bench.Queue.Memory.Descriptors + (index * 16);
        *(ulong*)descriptor = address;
        *(uint*)(descriptor + 8) = length;
        *(ushort*)(descriptor + 12) = (ushort)index;
        Volatile.Write(ref *(ushort*)(descriptor + 14), flags);
    }
}
