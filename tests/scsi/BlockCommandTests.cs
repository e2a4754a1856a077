using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

public sealed class BlockCommandTests
{
    private static byte[] UnmapList(params (ulong Lba, uint Count)[] ranges)
    {
        var list = new byte[8 + (ranges.Length * 16)];
        BinaryPrimitives.WriteUInt16BigEndian(list, (ushort)(list.Length - 2));
        BinaryPrimitives.WriteUInt16BigEndian(list.AsSpan(2), (ushort)(list.Length - 8));
        for (var i = 0; i < ranges.Length; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8 + (i * 16)), ranges[i].Lba);
            BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(16 + (i * 16)), ranges[i].Count);
        }

        return list;
    }

    private static CommandResult Unmap(Disk disk, byte[] list)
        => disk.Run($"42 00 00000000 00 {list.Length:X4} 00", list);

    [Fact]
    public void Unmap_discards_each_range()
    {
        using var disk = new Disk();
        disk.Port.Data.Fill(1);
        var list = UnmapList((1, 2), (100, 0), (50, 3), (2048, 0));
        Assert.Equal((ulong)list.Length, Unmap(disk, list).Good().TransferredBytes);
        Assert.Equal(2, disk.Port.Counts[(int)BlockOperation.Discard]);
        Assert.True(disk.Port.Data.Slice(512, 1024).IndexOfAnyExcept((byte)0) < 0);
        Assert.Equal(1, disk.Port.Data[3 * 512]);
        Assert.Equal(0, disk.Port.Data[52 * 512]);
    }

    [Fact]
    public void Unmap_checks_the_whole_list_first()
    {
        using var disk = new Disk();
        Unmap(disk, UnmapList((1, 2), (2047, 2))).Check(SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange);
        Unmap(disk, UnmapList([.. Enumerable.Repeat((1UL, 1u), 257)])).IllegalParameter(2);
        Assert.Equal(0, disk.Port.Counts[(int)BlockOperation.Discard]);
        Unmap(disk, UnmapList([.. Enumerable.Repeat((1UL, 1u), 256)])).Good();
        Assert.Equal(256, disk.Port.Counts[(int)BlockOperation.Discard]);
    }

    [Fact]
    public void Unmap_lists_of_wrong_length_are_refused()
    {
        using var disk = new Disk();
        disk.Run("42 00 00000000 00 0000 00").Good();
        disk.Run("42 00 00000000 00 0007 00", new byte[7]).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
        var list = UnmapList((1, 2));
        list[3] = 32;
        Unmap(disk, list).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
        list[3] = 15; // an incomplete descriptor is ignored
        Unmap(disk, list).Good();
        Assert.Equal(0, disk.Port.Counts[(int)BlockOperation.Discard]);
        Assert.Equal(ServiceResponse.Overrun, disk.Run("42 00 00000000 00 0018 00", new byte[23]).Response);
    }

    [Fact]
    public void Unmap_stops_at_a_failure()
    {
        using var disk = new Disk();
        disk.Port.Fault = (_, lba) => lba == 50 ? BlockStatus.IoError : null;
        Unmap(disk, UnmapList((1, 2), (50, 3), (90, 1))).Check(SenseKey.MediumError, AdditionalSense.WriteError);
        Assert.Equal(2, disk.Port.Counts[(int)BlockOperation.Discard]);
    }

    [Fact]
    public void Without_discard_there_is_no_unmap()
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { Operations = disk.Port.Info.Operations & ~BlockOperations.Discard }, BdevChange.Changed);
        disk.Run("00 00 00 00 00 00");
        Unmap(disk, UnmapList((1, 2))).Check(SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
        disk.Run("93 09 0000000000000000 00000001 00 00").IllegalField(1, 3);
        disk.Run("12 01 B2 00 FF 00", null, 255).IllegalField(2);
        Assert.Equal(0, disk.Run("9E 10 0000000000000000 00000020 00 00", null, 32).Good().DataIn[14] & 0x80);
    }

    [Theory]
    [InlineData("93 00 0000000000000003 00000190 00 00", 3, 400)]
    [InlineData("41 00 00000003 00 0190 00", 3, 400)]
    public void Write_same_repeats_a_block(string cdb, int lba, int count)
    {
        using var disk = new Disk();
        var block = Disk.Pattern(512);
        Assert.Equal(512UL, disk.Run(cdb, block).Good().TransferredBytes);
        for (var i = 0; i < count; i++)
        {
            Assert.True(disk.Port.Data.Slice((lba + i) * 512, 512).SequenceEqual(block));
        }

        Assert.Equal(0, disk.Port.Data[(lba - 1) * 512]);
        Assert.True(disk.Port.Data.Slice((lba + count) * 512, 512).IndexOfAnyExcept((byte)0) < 0);
    }

    [Theory]
    [InlineData("93 01 0000000000000003 00000004 00 00", 0)] // NDOB
    [InlineData("93 00 0000000000000003 00000004 00 00", 0)] // a block of zeroes
    [InlineData("93 09 0000000000000003 00000004 00 00", 1)] // NDOB and UNMAP
    [InlineData("41 08 00000003 00 0004 00", 1)]
    public void Write_same_of_zeroes_is_write_zeroes(string cdb, int mayUnmap)
    {
        using var disk = new Disk();
        disk.Port.Data.Fill(9);
        disk.Run(cdb, new byte[512]).Good();
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.WriteZeroes]);
        Assert.Equal(mayUnmap, disk.Port.MayUnmapCount);
        Assert.True(disk.Port.Data.Slice(3 * 512, 2048).IndexOfAnyExcept((byte)0) < 0);
        Assert.Equal(9, disk.Port.Data[7 * 512]);
    }

    [Fact]
    public void Write_same_of_a_pattern_never_unmaps()
    {
        using var disk = new Disk();
        disk.Run("93 08 0000000000000003 00000004 00 00", Disk.Pattern(512)).Good();
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Write]);
        Assert.Equal(0, disk.Port.Counts[(int)BlockOperation.WriteZeroes]);
    }

    [Fact]
    public void Write_same_has_limits()
    {
        using var disk = new Disk(512, 4 * 1024 * 1024);
        disk.Port.IsNull = true;
        disk.Run("93 01 0000000000000000 00000000 00 00").IllegalField(10); // WSNZ
        disk.Run("41 00 00000000 00 0000 00", new byte[512]).IllegalField(7);
        disk.Run("93 01 0000000000000000 00200001 00 00").IllegalField(10);
        disk.Run("93 01 0000000000000000 00200000 00 00").Good();
    }

    [Theory]
    [InlineData("2F 00 00000003 00 0300 00", 0)]
    [InlineData("8F 00 0000000000000003 00000300 00 00", 0)]
    [InlineData("AF 00 00000003 00000300 00 00", 0)]
    public void Verify_without_data_reads_the_medium(string cdb, int transferred)
    {
        using var disk = new Disk();
        Assert.Equal((ulong)transferred, disk.Run(cdb).Good().TransferredBytes);
        Assert.Equal(3, disk.Port.Counts[(int)BlockOperation.Read]);
        disk.Port.Fault = (_, lba) => lba == 3 + 256 ? BlockStatus.IoError : null;
        disk.Run(cdb).Check(SenseKey.MediumError, AdditionalSense.UnrecoveredReadError);
    }

    [Fact]
    public void Verify_compares()
    {
        using var disk = new Disk();
        var data = Disk.Pattern(1024);
        data.CopyTo(disk.Port.Data[1024..]);
        disk.Run("2F 02 00000002 00 0002 00", data).Good();
        data[700] ^= 1;
        Assert.Equal(700u, disk.Run("2F 02 00000002 00 0002 00", data).Check(SenseKey.Miscompare, AdditionalSense.MiscompareDuringVerify).Information);

        disk.Run("2F 06 00000100 00 0400 00", new byte[512]).Good(); // one block against many
        disk.Port.Data[0x300 * 512] = 1;
        disk.Run("2F 06 00000100 00 0400 00", new byte[512]).Check(SenseKey.Miscompare, AdditionalSense.MiscompareDuringVerify);
        disk.Run("2F 04 00000000 00 0001 00", new byte[512]).IllegalField(1, 2);
    }

    [Fact]
    public void Write_and_verify_writes_through()
    {
        using var disk = new Disk();
        var data = Disk.Pattern(1024);
        Assert.Equal(1024UL, disk.Run("2E 00 00000002 00 0002 00", data).Good().TransferredBytes);
        Assert.Equal(1024UL, disk.Run("8E 02 0000000000000002 00000002 00 00", data).Good().TransferredBytes);
        Assert.Equal(data, disk.Port.Data.Slice(1024, 1024).ToArray());
        Assert.Equal(2, disk.Port.ForceUnitAccessCount);
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Read]);
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Compare]);
    }

    [Fact]
    public void Compare_and_write_does_both_or_none()
    {
        using var disk = new Disk();
        var data = new byte[1024];
        Disk.Pattern(512).CopyTo(data, 512);
        Assert.Equal(1024UL, disk.Run("89 00 0000000000000004 000000 01 00 00", data).Good().TransferredBytes);
        Assert.Equal(data[512..], disk.Port.Data.Slice(4 * 512, 512).ToArray());
        var result = disk.Run("89 00 0000000000000004 000000 01 00 00", new byte[1024]);
        result.Check(SenseKey.Miscompare, AdditionalSense.MiscompareDuringVerify);
        Assert.Equal(0u, result.Information);
        Assert.Equal(data[512..], disk.Port.Data.Slice(4 * 512, 512).ToArray());
        disk.Run("89 00 0000000000000004 000000 81 00 00", new byte[512 * 258]).IllegalField(13);
    }

    [Fact]
    public void Orwrite_sets_bits()
    {
        using var disk = new Disk();
        disk.Initiator.PieceLength = 777;
        var old = Disk.Pattern(512 * 300, 1);
        var mask = Disk.Pattern(512 * 300, 2);
        old.CopyTo(disk.Port.Data[512..]);
        disk.Run("8B 00 0000000000000001 0000012C 00 00", mask).Good();
        Assert.Equal(old.Zip(mask, (a, b) => (byte)(a | b)), disk.Port.Data.Slice(512, old.Length).ToArray());
    }

    [Fact]
    public void Orwrite_loses_no_write_of_another()
    {
        using var disk = new Disk();
        var steps = 0;
        disk.Initiator.AfterStep = () =>
        {
            // Another initiator writes between the read and the write, twice.
            if (++steps is 1 or 3)
            {
                disk.Port.Data[512 + steps] = 0x40;
            }
        };
        var mask = new byte[512];
        mask.AsSpan().Fill(1);
        disk.Run("8B 00 0000000000000001 00000001 00 00", mask).Good();
        Assert.Equal(0x41, disk.Port.Data[512 + 1]);
        Assert.Equal(0x41, disk.Port.Data[512 + 3]);
        Assert.Equal(6, steps);
    }

    [Fact]
    public void A_disk_that_never_stays_the_same_is_busy()
    {
        using var disk = new Disk();
        byte value = 0;
        disk.Initiator.AfterStep = () => disk.Port.Data[512] = ++value;
        Assert.Equal(ScsiStatus.Busy, disk.Run("8B 00 0000000000000001 00000001 00 00", new byte[512]).Status);
    }

    [Fact]
    public void Status_of_blocks_is_mapped()
    {
        using var disk = new Disk();
        var data = disk.Run("9E 12 0000000000000010 00000018 00 00", null, 24).Good().DataIn;
        Assert.Equal(20u, BinaryPrimitives.ReadUInt32BigEndian(data));
        Assert.Equal(0x10UL, BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(8)));
        Assert.Equal(2048u - 16, BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(16)));
    }
}
