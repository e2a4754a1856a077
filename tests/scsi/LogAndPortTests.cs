using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

/// <summary>LOG SENSE, SEND DIAGNOSTIC and REPORT TARGET PORT GROUPS (SPC-4, sections 6.7, 6.37, 6.42 and 7.3).</summary>
public sealed class LogAndPortTests
{
    private static byte[] Page(Initiator initiator, int page) => initiator.Run($"4D 00 {0x40 | page:X2} 00 00 0000 0400 00", null, 1024).Good().DataIn[4..];

    private static byte[] Page(Disk disk, int page, int pointer = 0, int control = 1)
    {
        var result = disk.Run($"4D 00 {(control << 6) | page:X2} 00 00 {pointer:X4} 0400 00", null, 1024).Good();
        Assert.Equal((ulong)BinaryPrimitives.ReadUInt16BigEndian(result.DataIn.AsSpan(2)) + 4, result.TransferredBytes);
        Assert.Equal((page, 0), (result.DataIn[0], result.DataIn[1]));
        return result.DataIn[4..(int)result.TransferredBytes];
    }

    [Theory]
    [InlineData(null, "FF")]
    [InlineData(-5, "00")]
    [InlineData(27, "1B")]
    [InlineData(254, "FE")]
    [InlineData(300, "FE")] // FF is not known
    public void The_temperature_is_what_the_bdev_says(int? celsius, string told)
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { TemperatureCelsius = celsius }, BdevChange.Warned);
        Assert.Equal("0000" + "2302" + "00" + told, Convert.ToHexString(Page(disk, 0x0D)));
        Assert.Equal("0000" + "2304" + "0000" + told + "00", Convert.ToHexString(Page(disk, 0x2F)));

        // It is nothing that an initiator has to be told of.
        disk.Run("00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Every_page_that_is_listed_is_there()
    {
        using var disk = new Disk();
        var pages = Page(disk, 0);
        Assert.Equal("000203050D0E10192F", Convert.ToHexString(pages));
        disk.Port.Change(disk.Port.Info! with { LifeUsedPercent = 300 }, BdevChange.Warned);
        pages = Page(disk, 0);
        Assert.Equal("000203050D0E1011192F", Convert.ToHexString(pages));
        Assert.Equal("0001" + "2304" + "000000FF", Convert.ToHexString(Page(disk, 0x11)));
        disk.Port.Change(disk.Port.Info! with { LifeUsedPercent = 7 }, BdevChange.Warned);
        Assert.Equal("0001" + "2304" + "00000007", Convert.ToHexString(Page(disk, 0x11)));
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
            if (page != 0x19)
            {
                // Lists have their values whatever the page control field says; no counter has counted anything.
                Assert.All([0, 2, 3], control => Assert.Equal(parameters, Page(disk, page, 0, control)));
            }
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
    public void Commands_are_counted_as_the_standard_names_them()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "b").Settle();
        Assert.Equal(new string('0', 128), Convert.ToHexString(Page(disk, 0x19)[4..68]));

        // Reads of 3 and 5 blocks, one with FUA; READ (6) and VERIFY are not on the list.
        disk.Run("28 00 00000000 00 0003 00", null, 1536).Good();
        other.Run("88 08 0000000000000000 00000005 00 00", null, 2560).Good();
        disk.Run("08 00 0000 01 00", null, 512).Good();
        disk.Run("2F 00 00000000 00 0003 00").Good();
        // Writes of 2 and 1 blocks, one with FUA; an UNMAP, which transfers none; one that fails.
        disk.Run("AA 08 00000000 00000002 00 00", new byte[1024]).Good();
        disk.Run("2E 00 00000000 00 0001 00", new byte[512]).Good();
        disk.Run("42 00 00000000 00 0018 00", [0, 22, 0, 16, .. new byte[20]]).Good();
        disk.Run("2A 00 FFFFFFFF 00 0001 00", new byte[512]).Check(SenseKey.IllegalRequest, AdditionalSense.LbaOutOfRange);

        var page = Page(disk, 0x19);
        long Field(int at) => BinaryPrimitives.ReadInt64BigEndian(page.AsSpan(at));
        Assert.Equal("00012240", Convert.ToHexString(page[..4]));
        Assert.Equal((2L, 4L, 3L, 8L), (Field(4), Field(12), Field(20), Field(28)));
        Assert.Equal((0L, 0L), (Field(52), Field(60)));
        Assert.Equal("00022208", Convert.ToHexString(page[68..72]));
        Assert.Equal("00032308" + "00000006" + "00000001", Convert.ToHexString(page[80..92]));
        Assert.Equal("00042240", Convert.ToHexString(page[92..96]));
        Assert.Equal((1L, 1L, 0L, 0L), (Field(96), Field(104), Field(112), Field(120)));

        // Another initiator sees the same, and default values are zero.
        Assert.Equal(page[..68], Page(other, 0x19)[..68]);
        Assert.Equal(new string('0', 128), Convert.ToHexString(Page(disk, 0x19, control: 3)[4..68]));
        Assert.Equal("0003", Convert.ToHexString(Page(disk, 0x19, pointer: 3)[..2]));
    }

    [Fact]
    public void Times_add_up()
    {
        using var disk = new Disk();
        var begin = Stopwatch.GetTimestamp();
        disk.Initiator.AfterStep = () => SpinWait.SpinUntil(() => false, 20);
        disk.Run("28 08 00000000 00 0001 00", null, 512).Good();
        disk.Initiator.AfterStep = null;
        SpinWait.SpinUntil(() => false, 20);
        var page = Page(disk, 0x19);
        var whole = Stopwatch.GetElapsedTime(begin).TotalMicroseconds;
        var busy = BinaryPrimitives.ReadInt64BigEndian(page.AsSpan(36));
        var idle = BinaryPrimitives.ReadInt64BigEndian(page.AsSpan(72));
        Assert.True(busy >= 15_000 && busy <= whole, $"{busy} of {whole}");
        Assert.True(idle >= 15_000, $"{idle}");
        Assert.Equal(0, BinaryPrimitives.ReadInt64BigEndian(page.AsSpan(44)));
        Assert.Equal(busy, BinaryPrimitives.ReadInt64BigEndian(page.AsSpan(128)));
    }

    [Fact]
    public void What_was_counted_stays_when_an_initiator_goes()
    {
        using var disk = new Disk();
        using (var other = new Initiator(disk.Registry, disk.Port, "b").Settle())
        {
            other.Run("28 00 00000000 00 0003 00", null, 1536).Good();
        }

        Assert.Equal(1L, BinaryPrimitives.ReadInt64BigEndian(Page(disk, 0x19).AsSpan(4)));
    }

    [Fact]
    public void Log_select_resets_what_was_counted_and_the_others_are_told()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "b").Settle();
        void Count()
        {
            disk.Port.Fault = (_, _) => BlockStatus.IoError;
            disk.Run("28 00 00000000 00 0001 00", null, 512).Check(SenseKey.MediumError, AdditionalSense.UnrecoveredReadError);
            disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Check(SenseKey.MediumError, AdditionalSense.WriteError);
            disk.Port.Fault = null;
            disk.Run("1D 04 00 0000 00").Good();
        }

        // Read errors, write errors, read commands, self-tests.
        (long, long, long, bool) Counted() => (
            BinaryPrimitives.ReadInt64BigEndian(Page(disk, 0x03).AsSpan(4)),
            BinaryPrimitives.ReadInt64BigEndian(Page(disk, 0x02).AsSpan(4)),
            BinaryPrimitives.ReadInt64BigEndian(Page(disk, 0x19).AsSpan(4)),
            Page(disk, 0x10)[5] != 0 || Page(disk, 0x10)[4] != 0 || Page(disk, 0x10)[8] != 0);

        Count();
        Assert.Equal((1L, 1L, 1L, true), Counted());

        // Neither PCR nor default cumulative values: nothing happens.
        foreach (var control in (string[])["00", "40", "80"])
        {
            disk.Run($"4C 00 {control} 00 00 0000 0000 00").Good();
        }

        other.Run("00 00 00 00 00 00").Good();
        Assert.Equal((1L, 1L, 1L, true), Counted());

        // One page, and then all pages but for lists, and then all.
        disk.Run("4C 02 43 00 00 0000 0000 00").Good();
        Assert.Equal((0L, 1L, 1L, true), Counted());
        other.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.LogParametersChanged);
        disk.Run("00 00 00 00 00 00").Good();
        disk.Run("4C 00 C0 00 00 0000 0000 00").Good();
        Assert.Equal((0L, 0L, 0L, true), Counted());
        Count();
        Assert.Equal((1L, 1L, 1L, true), Counted());
        disk.Run("4C 02 00 00 00 0000 0000 00").Good();
        Assert.Equal((0L, 0L, 0L, false), Counted());

        disk.Run("4C 03 00 00 00 0000 0000 00").IllegalField(1, 0);
        disk.Run("4C 02 3E 00 00 0000 0000 00").IllegalField(2, 5);
        disk.Run("4C 02 11 00 00 0000 0000 00").IllegalField(2, 5);
        disk.Run("4C 02 03 01 00 0000 0000 00").IllegalField(3);
        disk.Run("4C 02 03 00 00 0000 0004 00", new byte[4]).IllegalField(2, 5);
        disk.Run("4C 02 00 01 00 0000 0004 00", new byte[4]).IllegalField(3);
        disk.Run("4C 00 00 00 00 0000 0004 00", new byte[4]).IllegalField(7);
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
