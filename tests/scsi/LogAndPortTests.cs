using System.Buffers.Binary;
using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

/// <summary>LOG SENSE, SEND DIAGNOSTIC and REPORT TARGET PORT GROUPS (SPC-4, sections 6.7, 6.37, 6.42 and 7.3).</summary>
public sealed class LogAndPortTests
{
    private static byte[] Page(Disk disk, int page, int pointer = 0, int control = 1)
    {
        var result = disk.Run($"4D 00 {(control << 6) | page:X2} 00 00 {pointer:X4} 0400 00", null, 1024).Good();
        Assert.Equal((ulong)BinaryPrimitives.ReadUInt16BigEndian(result.DataIn.AsSpan(2)) + 4, result.TransferredBytes);
        Assert.Equal((page, 0), (result.DataIn[0], result.DataIn[1]));
        return result.DataIn[4..(int)result.TransferredBytes];
    }

    [Fact]
    public void Every_page_that_is_listed_is_there()
    {
        using var disk = new Disk();
        var pages = Page(disk, 0);
        Assert.Equal("000203050D0E102F", Convert.ToHexString(pages));
        foreach (var page in pages[1..])
        {
            // Parameters in ascending order, each of the length that it says.
            var last = -1;
            var parameters = Page(disk, page);
            for (var at = 0; at < parameters.Length; at += 4 + parameters[at + 3])
            {
                var code = BinaryPrimitives.ReadUInt16BigEndian(parameters.AsSpan(at));
                Assert.True(code > last);
                last = code;
            }

            Assert.NotEqual(-1, last);
            disk.Run($"4D 00 {0x40 | page:X2} 00 00 {last + 1:X4} 0400 00", null, 1024).IllegalField(5);
            disk.Run($"4D 00 {0x40 | page:X2} 01 00 0000 0400 00", null, 1024).IllegalField(3);
            Assert.Equal(parameters, Page(disk, page, 0));
        }

        for (var page = 1; page < 0x40; page++)
        {
            if (!pages.Contains((byte)page))
            {
                disk.Run($"4D 00 {0x40 | page:X2} 00 00 0000 0400 00", null, 1024).IllegalField(2, 5);
            }
        }

        var all = disk.Run("4D 00 40 FF 00 0000 0400 00", null, 1024).Good();
        Assert.Equal(0x40, all.DataIn[0]);
        Assert.Equal("0000" + "00FF" + "0200" + "0300", Convert.ToHexString(all.DataIn[4..12]));
    }

    [Fact]
    public void Errors_are_counted()
    {
        using var disk = new Disk();
        disk.Port.Fault = (_, _) => BlockStatus.IoError;
        disk.Run("28 00 00000000 00 0001 00", null, 512).Check(SenseKey.MediumError, AdditionalSense.UnrecoveredReadError);
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Check(SenseKey.MediumError, AdditionalSense.WriteError);
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Check(SenseKey.MediumError, AdditionalSense.WriteError);
        foreach (var verify in (string[])["2F 00 00000000 00 0001 00", "AF 00 00000000 00000001 00 00", "8F 02 0000000000000000 00000001 00 00"])
        {
            disk.Run(verify, new byte[512]).Check(SenseKey.MediumError, AdditionalSense.UnrecoveredReadError);
        }

        disk.Port.Fault = null;
        Assert.Equal("0006" + "2008" + "0000000000000002", Convert.ToHexString(Page(disk, 0x02)));
        Assert.Equal("0006" + "2008" + "0000000000000001", Convert.ToHexString(Page(disk, 0x03)));
        Assert.Equal("0006" + "2008" + "0000000000000003", Convert.ToHexString(Page(disk, 0x05)));
        Assert.Equal("0006" + "2008" + "0000000000000000", Convert.ToHexString(Page(disk, 0x05, control: 3)));
    }

    [Fact]
    public void Starts_are_counted()
    {
        using var disk = new Disk();
        disk.Run("1B 00 00 00 00 00").Good();
        disk.Run("1B 00 00 00 01 00").Good();
        disk.Run("1B 00 00 00 01 00").Good();
        Assert.Equal("0004" + "2304" + "00000002", Convert.ToHexString(Page(disk, 0x0E)));
    }

    [Fact]
    public void Self_tests_read_the_medium_and_are_remembered()
    {
        using var disk = new Disk();
        var read = new List<ulong>();
        disk.Port.Fault = (_, lba) =>
        {
            read.Add(lba);
            return null;
        };
        disk.Run("1D 04 00 0000 00").Good();
        Assert.Equal([0UL, 1024, 2047], read);
        disk.Port.Fault = (_, lba) => lba == 2047 ? BlockStatus.IoError : null;
        disk.Run("1D A0 00 0000 00").Check(SenseKey.HardwareError, AdditionalSense.LogicalUnitFailedSelfTest);
        disk.Port.Fault = null;
        disk.Initiator.IsAborting = true;
        Assert.Equal(ServiceResponse.Aborted, disk.Run("1D A4 00 0000 00".Replace("A4", "A0", StringComparison.Ordinal)).Response);
        disk.Initiator.IsAborting = false;

        var results = Page(disk, 0x10);
        Assert.Equal(20 * 20, results.Length);
        Assert.Equal("0001" + "2310" + "A2" + "00" + "0000" + "FFFFFFFFFFFFFFFF" + "00000000", Convert.ToHexString(results[..20]));
        Assert.Equal("0002" + "2310" + "A7" + "00" + "0000" + "00000000000007FF" + "03110000", Convert.ToHexString(results[20..40]));
        Assert.Equal("0003" + "2310" + "00" + "00" + "0000" + "FFFFFFFFFFFFFFFF" + "00000000", Convert.ToHexString(results[40..60]));
        Assert.Equal(new string('0', 32), Convert.ToHexString(results[64..80]));

        foreach (var cdb in (string[])["1D 20 00 0000 00", "1D 40 00 0000 00", "1D 80 00 0000 00", "1D C0 00 0000 00", "1D A4 00 0000 00"])
        {
            disk.Run(cdb).IllegalField(1, 7);
        }

        disk.Run("1D 02 00 0000 00").IllegalField(1, 1);
        disk.Run("1D 00 00 0000 00").Good();
        disk.Run("1B 00 00 00 00 00").Good();
        disk.Run("1D 04 00 0000 00").Check(SenseKey.NotReady, AdditionalSense.InitializingCommandRequired);
    }

    [Fact]
    public void All_ports_of_a_unit_are_one_group_and_optimized()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "b");
        using var elsewhere = new Vhost.Testing.MemoryBdevPort("Disk1");
        using var stranger = new Initiator(disk.Registry, elsewhere, "c");
        var groups = disk.Run("A3 0A 00 00 00 00 00000100 00 00", null, 256).Good();
        Assert.Equal("00000010" + "0001" + "0001" + "0000" + "0002" + "00000001" + "00000002", Convert.ToHexString(groups.DataIn[..(int)groups.TransferredBytes]));
        var extended = disk.Run("A3 2A 00 00 00 00 00000100 00 00", null, 256).Good();
        Assert.Equal("00000014" + "10000000" + "0001" + "0001", Convert.ToHexString(extended.DataIn[..12]));
        disk.Run("A3 4A 00 00 00 00 00000100 00 00", null, 256).IllegalField(1, 7);
        Assert.Equal(4UL, disk.Run("A3 0A 00 00 00 00 00000004 00 00", null, 256).Good().TransferredBytes);

        // INQUIRY says that it is there, and page 83h which group the port is in.
        Assert.Equal(0x10, disk.Run("12 00 00 00 24 00", null, 36).Good().DataIn[5] & 0x30);
        Assert.Contains("01150004" + "00000001", Convert.ToHexString(disk.Run("12 01 83 01 00 00", null, 256).Good().DataIn), StringComparison.Ordinal);
        disk.Run("A4 0A 00 00 00 00 00000100 00 00", null, 256).Check(SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
    }
}
