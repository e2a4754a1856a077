using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

/// <summary>WRITE ATOMIC (16) (SBC-4, sections 4.29, 5.48 and 6.6.4).</summary>
public sealed class WriteAtomicTests
{
    private static Disk Atomic(uint blocks)
    {
        var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { AtomicWriteBlocks = blocks }, BdevChange.Warned);
        return disk;
    }

    [Fact]
    public void It_is_a_write_that_asks_the_bdev_to_be_atomic()
    {
        using var disk = Atomic(16);
        var data = Disk.Pattern(16 * 512);
        disk.Run("9C 18 0000000000000010 0000 0010 00 00", data).Good();
        Assert.Equal(data, disk.Port.Data.Slice(16 * 512, data.Length).ToArray());
        Assert.Equal((1L, 1L), (disk.Port.AtomicCount, disk.Port.ForceUnitAccessCount));
        disk.Run("2A 00 00000000 00 0010 00", data).Good();
        Assert.Equal(1L, disk.Port.AtomicCount);
        disk.Run("9C 00 0000000000000800 0000 0000 00 00").Good();
        Assert.Equal(1L, disk.Port.AtomicCount);
    }

    [Theory]
    [InlineData(1u, 1u)]
    [InlineData(16u, 16u)]
    [InlineData(1_000_000u, 65535u)]
    public void Its_limit_is_in_the_block_limits_and_holds(uint blocks, uint limit)
    {
        using var disk = Atomic(blocks);
        var page = disk.Run("12 01 B0 00 40 00", null, 64).Good().DataIn;
        Assert.Equal(limit, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(44)));
        Assert.Equal(new byte[16], page[48..64]);
        if (limit < 2000)
        {
            disk.Run($"9C 00 0000000000000000 0000 {limit + 1:X4} 00 00", new byte[(limit + 1) * 512]).IllegalField(12);
        }

        disk.Run("9C 00 0000000000000800 0000 0001 00 00", new byte[512]).Check(SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange);
        // There is no atomic boundary, whatever it is.
        disk.Run("9C 00 0000000000000000 0001 0001 00 00", new byte[512]).IllegalField(10);
        disk.Run("9C 00 0000000000000000 8000 0001 00 00", new byte[512]).IllegalField(10);
        Assert.Equal(0L, disk.Port.AtomicCount);
    }

    [Fact]
    public void It_is_not_there_where_no_write_is_atomic()
    {
        using var disk = Atomic(0);
        disk.Run("9C 00 0000000000000000 0000 0001 00 00", new byte[512]).Check(SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
        Assert.Equal(1, disk.Run("A3 0C 01 9C 0000 00000010 00 00", null, 16).Good().DataIn[1]);
        using var other = Atomic(1);
        Assert.Equal(3, other.Run("A3 0C 01 9C 0000 00000020 00 00", null, 32).Good().DataIn[1]);
    }

    [Fact]
    public void It_conflicts_with_protection_and_reservations_as_a_write_does()
    {
        using var disk = Atomic(8);
        using var other = new Initiator(disk.Registry, disk.Port, "b").Settle();
        other.Run("16 00 00 00 00 00").Good();
        Assert.Equal(ScsiStatus.ReservationConflict, disk.Run("9C 00 0000000000000000 0000 0001 00 00", new byte[512]).Status);
        other.Run("17 00 00 00 00 00").Good();
        disk.Port.Change(disk.Port.Info! with { IsReadOnly = true }, BdevChange.Warned);
        disk.Run("9C 00 0000000000000000 0000 0001 00 00", new byte[512]).Check(SenseKey.DataProtect, AdditionalSense.WriteProtected);
    }
}
