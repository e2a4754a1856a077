using CsCheck;
using Vhost.Abstractions;

namespace Vhost.Virtio.Tests;

/// <summary>Random bytes as rings: nothing crashes, and nothing is written outside the guest's memory or to what the driver did not give away.</summary>
public sealed unsafe class GarbageTests
{
    [Theory]
    [InlineData(VirtqueueFormat.Split, 0UL)]
    [InlineData(VirtqueueFormat.Split, VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex)]
    [InlineData(VirtqueueFormat.Packed, 0UL)]
    [InlineData(VirtqueueFormat.Packed, VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex)]
    public void Random_rings_hurt_nobody(VirtqueueFormat format, ulong features)
    {
        long handled = 0;
        long invalid = 0;
        long broken = 0;
        Gen.Int[0, int.MaxValue].Sample(
            seed =>
            {
                var random = new Random(seed);
                using var bench = new Bench(format, 16, features, ramBytes: 0x4_0000);
                // A guard around the region's memory: the allocator's neighbours are not ours to look at, so the guard is a part of the region
                // that no descriptor is given.
                var guard = bench.Ram.Span(Bench.RamBase + 0x3_0000, 0x1_0000);
                guard.Fill(0xa5);
                bench.Start();
                for (var round = 0; round < 40; round++)
                {
                    Scribble(bench, format, random);
                    for (var turn = 0; turn < 3; turn++)
                    {
                        bench.Reactor.Turn();
                    }
                }

                Assert.False(bench.Ram.Span(Bench.RamBase + 0x3_0000, 0x1_0000).ContainsAnyExcept((byte)0xa5));
                Interlocked.Add(ref handled, bench.Handler.HandledCount);
                Interlocked.Add(ref invalid, bench.Handler.Faults.Count);
                Interlocked.Add(ref broken, bench.Session.GetQueue(0)!.IsBroken ? 1 : 0);
                Assert.Equal(0, bench.Stop().AbandonedRequestCount);
            },
            iter: 300);
        // The garbage is near enough to the truth to reach every depth.
        Assert.True(handled > 50, $"{handled} handled, {invalid} invalid, {broken} broken");
        Assert.True(invalid > 20, $"{handled} handled, {invalid} invalid, {broken} broken");
        Assert.True(broken > 20, $"{handled} handled, {invalid} invalid, {broken} broken");
    }

    private static void Scribble(Bench bench, VirtqueueFormat format, Random random)
    {
        var isPacked = format == VirtqueueFormat.Packed;
        var table = Bench.RamBase + 0x1_0000;
        for (var i = 0; i < 16; i++)
        {
            Entry(bench.Queue.Memory.Descriptors + (i * 16), random, isPacked, size: 16, table);
            Entry(bench.Ram.Host(table + ((ulong)i * 16)), random, isPacked, size: 16, table);
        }

        if (!isPacked)
        {
            for (var i = 0; i < 16; i++)
            {
                *(ushort*)(bench.Queue.Memory.Driver + 4 + (2 * i)) = (ushort)(random.Next(60) == 0 ? random.Next(65536) : random.Next(16));
            }

            var step = random.Next(100) == 0 ? random.Next(65536) : random.Next(3);
            *(ushort*)(bench.Queue.Memory.Driver + 2) += (ushort)step;
        }
    }

    private static void Entry(byte* entry, Random random, bool isPacked, int size, ulong table)
    {
        // Mostly good addresses and short lengths, below the guard.
        var address = random.Next(30) switch
        {
            0 => (ulong)random.NextInt64(),
            1 => Bench.RamBase - (ulong)random.Next(64),
            2 => 0x1_0000_0000 + 0x1_0000 - (ulong)random.Next(64),
            3 => table,
            _ => Bench.RamBase + 0x2_0000 + (ulong)random.Next(0x8000),
        };
        var length = random.Next(40) switch
        {
            // A long length is only ever used with an address that has no guard behind it.
            0 when address < Bench.RamBase || address >= 0x1_0000_0000 => uint.MaxValue,
            1 => 0U,
            2 => 32U,
            _ => (uint)random.Next(1, 200),
        };
        var flags = (ushort)(random.Next(4) | (random.Next(25) == 0 ? RingLayout.FlagIndirect : 0));
        *(ulong*)entry = address;
        *(uint*)(entry + 8) = length;
        if (isPacked)
        {
            *(ushort*)(entry + 12) = (ushort)random.Next(65536);
            flags |= random.Next(8) switch { 0 => 0, 1 => RingLayout.FlagAvailable | RingLayout.FlagUsed, 2 => RingLayout.FlagUsed, _ => RingLayout.FlagAvailable };
            *(ushort*)(entry + 14) = flags;
        }
        else
        {
            *(ushort*)(entry + 12) = flags;
            *(ushort*)(entry + 14) = (ushort)(random.Next(40) == 0 ? random.Next(65536) : random.Next(size));
        }
    }
}
