using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

public sealed class ReadWriteTests
{
    // READ and WRITE of blocks 5 and 6, in each form.
    public static TheoryData<string, string> Forms => new()
    {
        { "0A 00 00 05 02 00", "08 00 00 05 02 00" },
        { "2A 00 00000005 00 0002 00", "28 00 00000005 00 0002 00" },
        { "AA 00 00000005 00000002 00 00", "A8 00 00000005 00000002 00 00" },
        { "8A 00 0000000000000005 00000002 00 00", "88 00 0000000000000005 00000002 00 00" },
    };

    [Theory]
    [MemberData(nameof(Forms))]
    public void What_is_written_is_read(string write, string read)
    {
        foreach (var piece in (int[])[1, 100, 512, 700, 4096])
        {
            using var disk = new Disk();
            disk.Initiator.PieceLength = piece;
            var data = Disk.Pattern(1024);
            Assert.Equal(1024UL, disk.Run(write, data).Good().TransferredBytes);
            Assert.Equal(data, disk.Port.Data.Slice(5 * 512, 1024).ToArray());
            Assert.Equal(data, disk.Run(read, null, 1024).Good().DataIn);
        }
    }

    [Fact]
    public void Read6_of_zero_blocks_means_256()
    {
        using var disk = new Disk();
        disk.Port.Data[255 * 512] = 7;
        var result = disk.Run("08 00 00 00 00 00", null, 256 * 512).Good();
        Assert.Equal(7, result.DataIn[255 * 512]);
        Assert.Equal(256UL * 512, result.TransferredBytes);
    }

    [Theory]
    [InlineData("28 00 00000000 00 0000 00")]
    [InlineData("2A 00 00000000 00 0000 00")]
    [InlineData("A8 00 00000800 00000000 00 00")] // right behind the last block
    [InlineData("8A 00 0000000000000800 00000000 00 00")]
    public void Zero_blocks_are_no_error(string cdb)
    {
        using var disk = new Disk();
        Assert.Equal(0UL, disk.Run(cdb, new byte[512], 512).Good().TransferredBytes);
        Assert.All(disk.Port.Counts, count => Assert.Equal(0, count));
    }

    [Theory]
    [InlineData("28 00 00000800 00 0001 00")]
    [InlineData("28 00 000007FF 00 0002 00")]
    [InlineData("28 00 00000801 00 0000 00")]
    [InlineData("28 00 FFFFFFFF 00 0001 00")]
    [InlineData("2A 00 00000800 00 0001 00")]
    [InlineData("08 1F FF FF 01 00")]
    [InlineData("A8 00 00000000 FFFFFFFF 00 00")]
    [InlineData("88 00 FFFFFFFFFFFFFFFF 00000001 00 00")]
    [InlineData("88 00 FFFFFFFFFFFFFFFF FFFFFFFF 00 00")]
    [InlineData("8A 00 8000000000000000 00000001 00 00")]
    [InlineData("2F 00 00000800 00 0001 00")]
    [InlineData("35 00 00000800 00 0001 00")]
    [InlineData("91 00 0000000000000801 00000000 00 00")]
    [InlineData("93 01 0000000000000800 00000001 00 00")]
    [InlineData("34 00 00000800 00 0001 00")]
    [InlineData("89 00 0000000000000800 00 00 00 01 00 00")]
    [InlineData("9E 12 0000000000000800 00000018 00 00")]
    public void Blocks_outside_the_medium_are_refused(string cdb)
    {
        using var disk = new Disk();
        disk.Run(cdb, new byte[1024], 1024).Check(SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange);
        Assert.All(disk.Port.Counts, count => Assert.Equal(0, count));
    }

    [Fact]
    public void More_blocks_than_the_limit_are_refused()
    {
        using var disk = new Disk(512, 400_000);
        disk.Run("8F 00 0000000000000000 00020001 00 00").IllegalField(10);
        disk.Run("AF 00 00000000 00020001 00 00").IllegalField(6);
        disk.Run("8F 00 0000000000000000 00020000 00 00").Good();
    }

    [Fact]
    public void Longer_buffers_leave_a_residual()
    {
        using var disk = new Disk();
        disk.Initiator.PieceLength = 300;
        Disk.Pattern(4096).CopyTo(disk.Port.Data);
        var read = disk.Run("28 00 00000000 00 0002 00", null, 4096).Good();
        Assert.Equal(1024UL, read.TransferredBytes);
        Assert.Equal(disk.Port.Data[..1024].ToArray(), read.DataIn[..1024]);
        Assert.All(read.DataIn[1024..], value => Assert.Equal(0xEE, value));

        Assert.Equal(512UL, disk.Run("2A 00 00000000 00 0001 00", new byte[4096]).Good().TransferredBytes);
        Assert.NotEqual(0, disk.Port.Data[512]);
    }

    [Theory]
    [InlineData("28 00 00000000 00 0002 00")]
    [InlineData("2A 00 00000000 00 0002 00")]
    [InlineData("2E 00 00000000 00 0002 00")]
    [InlineData("2F 02 00000000 00 0002 00")]
    [InlineData("89 00 0000000000000000 00 00 00 01 00 00")] // needs twice a block
    public void Shorter_buffers_are_an_overrun_and_nothing_happens(string cdb)
    {
        using var disk = new Disk();
        var result = disk.Run(cdb, new byte[1023], 1023);
        Assert.Equal(ServiceResponse.Overrun, result.Response);
        Assert.Equal(0UL, result.TransferredBytes);
        Assert.All(disk.Port.Counts, count => Assert.Equal(0, count));
    }

    [Theory]
    [InlineData("2A 08 00000000 00 0001 00", 1)]
    [InlineData("2A 00 00000000 00 0001 00", 0)]
    [InlineData("2A 10 00000000 00 0001 00", 0)] // DPO is a hint
    [InlineData("8A 08 0000000000000000 00000001 00 00", 1)]
    [InlineData("AA 08 00000000 00000001 00 00", 1)]
    [InlineData("0A 08 00 00 01 00", 0)] // bit 3 belongs to the address there
    public void Force_unit_access_reaches_the_bdev(string cdb, int expected)
    {
        using var disk = new Disk(512, 1024 * 1024);
        disk.Run(cdb, new byte[512]).Good();
        Assert.Equal(expected, disk.Port.ForceUnitAccessCount);
    }

    [Fact]
    public void Read_with_force_unit_access_flushes_first()
    {
        using var disk = new Disk();
        Assert.Equal(512UL, disk.Run("28 08 00000001 00 0001 00", null, 512).Good().TransferredBytes);
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Flush]);
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Read]);
    }

    [Fact]
    public void Read_only_bdevs_refuse_every_write()
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { IsReadOnly = true }, BdevChange.Changed);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.InquiryDataChanged);
        foreach (var cdb in (string[])
            [
                "0A 00 00 05 02 00", "2A 00 00000005 00 0002 00", "AA 00 00000005 00000002 00 00", "8A 00 0000000000000005 00000002 00 00",
                "2E 00 00000005 00 0002 00", "41 00 00000005 00 0002 00", "93 01 0000000000000005 00000002 00 00", "42 00 00000000 00 0018 00",
                "89 00 0000000000000005 000000 01 00 00", "8B 00 0000000000000005 00000001 00 00",
            ])
        {
            disk.Run(cdb, new byte[4096]).Check(SenseKey.DataProtect, AdditionalSense.WriteProtected);
        }

        disk.Run("28 00 00000005 00 0001 00", null, 512).Good();
        Assert.Equal(0x90, disk.Run("1A 08 08 00 FF 00", null, 255).Good().DataIn[2]);
    }

    [Theory]
    [InlineData(BlockStatus.OutOfRange, SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange)]
    [InlineData(BlockStatus.Unsupported, SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode)]
    [InlineData(BlockStatus.ReadOnly, SenseKey.DataProtect, AdditionalSense.WriteProtected)]
    [InlineData(BlockStatus.NoSpace, SenseKey.DataProtect, AdditionalSense.SpaceAllocationFailed)]
    [InlineData(BlockStatus.NoDevice, SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported)]
    [InlineData(BlockStatus.Aborted, SenseKey.AbortedCommand, AdditionalSense.None)]
    [InlineData(BlockStatus.TimedOut, SenseKey.AbortedCommand, AdditionalSense.CommunicationTimeOut)]
    public void Failures_of_the_bdev_become_sense_data(BlockStatus status, SenseKey key, AdditionalSense additional)
    {
        using var disk = new Disk();
        disk.Port.Fault = (_, _) => status;
        Assert.Equal(0UL, disk.Run("2A 00 00000005 00 0001 00", new byte[512]).Check(key, additional).TransferredBytes);
    }

    [Theory]
    [InlineData("28 00 00000005 00 0002 00", AdditionalSense.UnrecoveredReadError)]
    [InlineData("2A 00 00000005 00 0002 00", AdditionalSense.WriteError)]
    public void Medium_errors_name_the_block(string cdb, AdditionalSense additional)
    {
        using var disk = new Disk();
        disk.Port.Fault = (_, _) => BlockStatus.IoError;
        var result = disk.Run(cdb, new byte[1024], 1024).Check(SenseKey.MediumError, additional);
        Assert.Equal(5u, result.Information);
    }

    [Theory]
    [InlineData(BlockStatus.Busy, ScsiStatus.Busy)]
    [InlineData(BlockStatus.ReservationConflict, ScsiStatus.ReservationConflict)]
    public void Some_failures_have_a_status_of_their_own(BlockStatus status, ScsiStatus expected)
    {
        using var disk = new Disk();
        disk.Port.Fault = (_, _) => status;
        Assert.Equal(expected, disk.Run("28 00 00000005 00 0001 00", null, 512).Status);
    }

    [Fact]
    public void Cache_is_flushed()
    {
        using var disk = new Disk();
        disk.Run("35 00 00000000 00 0000 00").Good();
        disk.Run("35 02 00000000 00 0001 00").Good();
        disk.Run("91 00 0000000000000000 00000800 00 00").Good();
        Assert.Equal(3, disk.Port.Counts[(int)BlockOperation.Flush]);
        disk.Port.Fault = (_, _) => BlockStatus.IoError;
        disk.Run("35 00 00000000 00 0000 00").Check(SenseKey.MediumError, AdditionalSense.WriteError);
    }

    [Fact]
    public void Other_block_sizes_work()
    {
        foreach (var size in (uint[])[512, 4096, 65536])
        {
            using var disk = new Disk(size, 64);
            var data = Disk.Pattern((int)size * 2);
            disk.Run("2A 00 00000007 00 0002 00", data).Good();
            Assert.Equal(data, disk.Run("28 00 00000007 00 0002 00", null, data.Length).Good().DataIn);
            disk.Run("41 00 00000001 00 0003 00", data[..(int)size]).Good();
            Assert.Equal(data[..(int)size], disk.Port.Data.Slice((int)size * 3, (int)size).ToArray());
        }
    }
}
