using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CsCheck;
using Vhost.Pci.Devices;
using Vhost.Pci.Dma;

namespace Vhost.Pci.Tests;

public sealed class DmaTests
{
    [Fact]
    public void Iovas_come_from_the_ranges_aligned_and_never_overlap() =>
        Gen.Select(Gen.UInt[1, 64], Gen.Int[0, 3], Gen.Bool).Array[1, 200].Sample(steps =>
        {
            (ulong First, ulong Last)[] ranges = [(0, 0x1f_ffff), (0x100_0000, 0x180_0fff), (ulong.MaxValue - 0xffff, ulong.MaxValue)];
            var allocator = new IovaAllocator(ranges);
            ulong total = allocator.FreeBytes;
            var held = new List<(ulong First, ulong Length)>();
            foreach ((uint pages, int shift, bool free) in steps)
            {
                if (free && held.Count > 0)
                {
                    allocator.Free(held[^1].First, held[^1].Length);
                    held.RemoveAt(held.Count - 1);
                    continue;
                }

                ulong alignment = 4096UL << (shift * 3);
                ulong length = pages * 4096UL;
                if (!allocator.TryAllocate(length, alignment, 4096 % alignment, out ulong iova))
                {
                    continue;
                }

                if (iova < IovaAllocator.LowestIova || iova % alignment != 4096 % alignment
                    || !ranges.Any(r => iova >= r.First && iova + (length - 1) <= r.Last)
                    || held.Any(h => iova - h.First < h.Length || h.First - iova < length))
                {
                    return false;
                }

                held.Add((iova, length));
            }

            held.ForEach(h => allocator.Free(h.First, h.Length));
            return allocator.FreeBytes == total;
        });

    [Fact]
    public void Excluded_addresses_are_not_handed_out()
    {
        var allocator = new IovaAllocator([(0x10_0000, 0x1f_ffff)]);
        allocator.Exclude(0x11_0000, 0x1e_ffff);
        Assert.Equal(0x2_0000UL, allocator.FreeBytes);
        Assert.False(allocator.TryAllocate(0x1_1000, 4096, 0, out _));
        Assert.True(allocator.TryAllocate(0x1_0000, 4096, 0, out ulong low));
        Assert.True(allocator.TryAllocate(0x1_0000, 4096, 0, out ulong high));
        Assert.Equal((0x10_0000UL, 0x1f_0000UL), (low, high));
        Assert.False(allocator.TryAllocate(1, 1, 0, out _));
        Assert.Throws<InvalidOperationException>(() =>
        {
            allocator.Free(low, 0x1_0000);
            allocator.Free(low, 4096);
        });
    }

    [Fact]
    public void The_table_merges_what_follows_and_keeps_apart_what_does_not()
    {
        var table = new DmaTable();
        DmaRange a = new(0x10000, 0x1000, 0x5000);
        DmaRange b = new(0x11000, 0x1000, 0x6000);
        DmaRange c = new(0x12000, 0x1000, 0x9000);
        table.Add([c, a]);
        table.Add([b]);
        Assert.True(table.TryTranslate(0x10800, 0x4000, out ulong iova, out nuint contiguous));
        Assert.Equal((0x5800UL, (nuint)0x1800), (iova, contiguous));
        Assert.True(table.TryTranslate(0x12fff, 8, out iova, out contiguous));
        Assert.Equal((0x9fffUL, (nuint)1), (iova, contiguous));
        Assert.False(table.TryTranslate(0x13000, 1, out _, out _));
        Assert.False(table.TryTranslate(0xffff, 1, out _, out _));
        table.Remove([b]);
        Assert.False(table.TryTranslate(0x11000, 1, out _, out _));
        Assert.True(table.TryTranslate(0x10fff, 9, out _, out contiguous));
        Assert.Equal((nuint)1, contiguous);
    }

    [Fact]
    public void The_iommus_ranges_are_read_and_its_lies_bounded()
    {
        byte[] info = new byte[VfioIommuInfo.BufferBytes];
        Assert.Equal(2, VfioIommuInfo.Parse(info).Gaps().Count()); // no capabilities: the defaults
        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(4), 3);
        BinaryPrimitives.WriteUInt64LittleEndian(info.AsSpan(8), 0x40201000);
        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(16), 24);
        BinaryPrimitives.WriteUInt16LittleEndian(info.AsSpan(24), 3);
        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(28), 48);
        BinaryPrimitives.WriteUInt16LittleEndian(info.AsSpan(48), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(56), 2);
        BinaryPrimitives.WriteUInt64LittleEndian(info.AsSpan(64), 0);
        BinaryPrimitives.WriteUInt64LittleEndian(info.AsSpan(72), 0xfedf_ffff);
        BinaryPrimitives.WriteUInt64LittleEndian(info.AsSpan(80), 0xfef0_0000);
        BinaryPrimitives.WriteUInt64LittleEndian(info.AsSpan(88), 0x7f_ffff_ffff);
        VfioIommuInfo parsed = VfioIommuInfo.Parse(info);
        Assert.Equal(4096UL, parsed.PageBytes);
        Assert.Equal([(0UL, 0xfedf_ffffUL), (0xfef0_0000UL, 0x7f_ffff_ffffUL)], parsed.Ranges);
        Assert.Equal([(0xfee0_0000UL, 0xfeef_ffffUL), (0x80_0000_0000UL, ulong.MaxValue)], parsed.Gaps());

        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(28), 24); // a loop
        Assert.NotEmpty(VfioIommuInfo.Parse(info).Ranges);
        BinaryPrimitives.WriteUInt32LittleEndian(info.AsSpan(16), uint.MaxValue);
        Assert.NotEmpty(VfioIommuInfo.Parse(info).Ranges);
    }

    [Fact]
    public void Structures_have_the_sizes_of_the_header()
    {
        Assert.Equal(8, Unsafe.SizeOf<VfioGroupStatus>());
        Assert.Equal(20, Unsafe.SizeOf<Devices.VfioDeviceInfo>());
        Assert.Equal(32, Unsafe.SizeOf<Devices.VfioRegionInfo>());
        Assert.Equal(16, Unsafe.SizeOf<Devices.VfioIrqInfo>());
        Assert.Equal(20, Unsafe.SizeOf<Devices.VfioIrqSet>());
        Assert.Equal(32, Unsafe.SizeOf<Devices.VfioDmaMap>());
        Assert.Equal(24, Unsafe.SizeOf<Devices.VfioDmaUnmap>());
    }

    [Theory]
    [InlineData("0000:00:05.0", "0000:00:05.0")]
    [InlineData("3a:1f.7", "0000:3a:1f.7")]
    [InlineData("10000:e1:00.0", "10000:e1:00.0")]
    public void Addresses_are_parsed(string text, string expected)
    {
        Assert.True(PciAddress.TryParse(text, out PciAddress address));
        Assert.Equal(expected, address.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("0000:00:05")]
    [InlineData("0000:00:20.0")]
    [InlineData("0000:00:05.8")]
    [InlineData("000:00:05.0")]
    [InlineData("0000:0:05.0")]
    [InlineData("0000:00:05.0 ")]
    [InlineData("0000:00:+5.0")]
    [InlineData("0000:00:05.0.0")]
    public void Other_texts_are_no_addresses(string text) => Assert.False(PciAddress.TryParse(text, out _));
}
