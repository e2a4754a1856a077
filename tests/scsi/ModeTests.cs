using Vhost.Abstractions;

namespace Vhost.Scsi.Tests;

public sealed class ModeTests
{
    private static string CachingPage(bool writeCache) => "08 12 0" + (writeCache ? "4" : "0") + string.Concat(Enumerable.Repeat("00", 17));

    private static byte[] Hex(string text) => Convert.FromHexString(text.Replace(" ", string.Empty, StringComparison.Ordinal));

    private static CommandResult Select6(Initiator initiator, string list) => initiator.Run($"15 10 00 00 {Hex(list).Length:X2} 00", Hex(list));

    private static CommandResult Select10(Initiator initiator, string list) => initiator.Run($"55 10 00 00 00 00 00 {Hex(list).Length:X4} 00", Hex(list));

    private static byte[] Sense6(Initiator initiator, string pageControlAndCode)
    {
        var result = initiator.Run($"1A 08 {pageControlAndCode} 00 FF 00", null, 255).Good();
        Assert.Equal((ulong)result.DataIn[0] + 1, result.TransferredBytes);
        return result.DataIn[4..(int)result.TransferredBytes];
    }

    [Theory]
    [InlineData("08", "081204")] // current: the cache is on
    [InlineData("48", "081204")] // it may be changed
    [InlineData("88", "081204")] // and is on by default
    [InlineData("0A", "0A0A20100000" + "0000FFFF0000")]
    [InlineData("4A", "0A0A04000800" + "000000000000")]
    [InlineData("8A", "0A0A20100000" + "0000FFFF0000")]
    [InlineData("1C", "1C0A08000000" + "000000000000")]
    [InlineData("5C", "1C0A00000000" + "000000000000")]
    [InlineData("01", "010AC0000000" + "000000000000")]
    [InlineData("41", "010A00000000" + "000000000000")]
    public void Pages_have_current_changeable_and_default_values(string code, string expected)
    {
        using var disk = new Disk();
        Assert.StartsWith(expected, Convert.ToHexString(Sense6(disk.Initiator, code)), StringComparison.Ordinal);
    }

    [Fact]
    public void All_pages_come_in_ascending_order()
    {
        using var disk = new Disk();
        var pages = Sense6(disk.Initiator, "3F");
        List<byte> codes = [];
        for (var i = 0; i < pages.Length; i += pages[i + 1] + 2)
        {
            codes.Add(pages[i]);
        }

        Assert.Equal([0x01, 0x08, 0x0A, 0x1C], codes);
        Assert.Equal(pages, disk.Run("5A 08 3F 00 00 00 00 01 00 00", null, 256).Good().DataIn[8..(8 + pages.Length)]);
        disk.Run("1A 08 3F FF FF 00", null, 255).Good();
    }

    [Fact]
    public void Headers_and_block_descriptors_are_right()
    {
        using var disk = new Disk();
        var six = disk.Run("1A 00 08 00 FF 00", null, 255).Good().DataIn;
        Assert.Equal("1F001008" + "0000080000000200", Convert.ToHexString(six[..12]));
        var ten = disk.Run("5A 00 08 00 00 00 00 00 FF 00", null, 255).Good().DataIn;
        Assert.Equal("0022001000000008" + "0000080000000200", Convert.ToHexString(ten[..16]));
        var longLba = disk.Run("5A 10 08 00 00 00 00 00 FF 00", null, 255).Good().DataIn;
        Assert.Equal("002A001001000010" + "0000000000000800" + "0000000000000200", Convert.ToHexString(longLba[..24]));
        Assert.Equal(4UL, disk.Run("1A 00 08 00 04 00", null, 255).Good().TransferredBytes);
    }

    [Theory]
    [InlineData("1A 08 02 00 FF 00", 2, 5)] // no such page
    [InlineData("1A 08 00 00 FF 00", 2, 5)]
    [InlineData("1A 08 08 01 FF 00", 3, -1)] // no such subpage
    public void Unknown_pages_are_refused(string cdb, int field, int bit)
    {
        using var disk = new Disk();
        disk.Run(cdb, null, 255).IllegalField(field, bit);
    }

    [Fact]
    public void Nothing_is_saved()
    {
        using var disk = new Disk();
        disk.Run("1A 08 C8 00 FF 00", null, 255).Check(SenseKey.IllegalRequest, AdditionalSense.SavingParametersNotSupported);
        disk.Run("15 11 00 00 18 00", new byte[24]).IllegalField(1, 0);
        disk.Run("15 00 00 00 18 00", new byte[24]).IllegalField(1, 4);
        disk.Run("15 10 00 00 00 00").Good();
    }

    [Fact]
    public void The_write_cache_is_switched_off_for_all_and_flushed()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        Assert.Equal(0, disk.Port.ForceUnitAccessCount);

        Select6(disk.Initiator, "00000000" + CachingPage(false)).Good();
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Flush]);
        other.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.ModeParametersChanged);
        Assert.Equal(0, Sense6(other, "08")[2]);
        Assert.Equal(4, Sense6(other, "88")[2]);
        other.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        disk.Run("0A 00 00 00 01 00", new byte[512]).Good();
        disk.Run("93 00 0000000000000000 00000001 00 00", Disk.Pattern(512)).Good();
        Assert.Equal(3, disk.Port.ForceUnitAccessCount);

        Select10(other, "0000000000000000" + CachingPage(true)).Good();
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.ModeParametersChanged);
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        Assert.Equal(3, disk.Port.ForceUnitAccessCount);
    }

    [Fact]
    public void Writes_that_begin_while_the_cache_is_flushed_go_through()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
        other.Run("00 00 00 00 00 00").Good();
        disk.Port.Fault = (operation, _) =>
        {
            if (operation == BlockOperation.Flush)
            {
                disk.Port.Fault = null;
                other.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.ModeParametersChanged);
                other.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
                Select6(other, "00000000" + "0A0A24100000" + "0000FFFF0000").Good();
            }

            return null;
        };
        Select6(disk.Initiator, "00000000" + CachingPage(false)).Good();
        Assert.Equal(1, disk.Port.ForceUnitAccessCount);
        Assert.Equal((0, 0x24), (Sense6(other, "08")[2], Sense6(other, "0A")[2]));
    }

    [Fact]
    public void A_cache_that_is_off_stays_off_through_resets()
    {
        using var disk = new Disk();
        Select6(disk.Initiator, "00000000" + CachingPage(false) + "0A0A24100800" + "0000FFFF0000").Good();
        disk.Initiator.Nexus.Unit.Reset();
        disk.Initiator.Target.OnPowerOn();
        disk.Initiator.Settle();
        Assert.Equal(0, Sense6(disk.Initiator, "08")[2]);
        Assert.Equal((0x20, 0x00), (Sense6(disk.Initiator, "0A")[2], Sense6(disk.Initiator, "0A")[4]));
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        Assert.Equal(1, disk.Port.ForceUnitAccessCount);
    }

    [Fact]
    public void A_failed_flush_leaves_the_write_cache_on()
    {
        using var disk = new Disk();
        disk.Port.Fault = (operation, _) => operation == BlockOperation.Flush ? BlockStatus.IoError : null;
        Select6(disk.Initiator, "00000000" + CachingPage(false)).Check(SenseKey.MediumError, AdditionalSense.WriteError);
        Assert.Equal(4, Sense6(disk.Initiator, "08")[2]);
    }

    [Fact]
    public void Without_a_cache_there_is_nothing_to_switch()
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { HasVolatileWriteCache = false }, BdevChange.Changed);
        disk.Run("00 00 00 00 00 00");
        Assert.Equal(0, Sense6(disk.Initiator, "08")[2]);
        Assert.Equal(0, Sense6(disk.Initiator, "48")[2]);
        Select6(disk.Initiator, "00000000" + CachingPage(false)).Good();
        Select6(disk.Initiator, "00000000" + CachingPage(true)).IllegalParameter(6, 2);
    }

    [Fact]
    public void Sense_data_take_the_format_of_the_control_page()
    {
        using var disk = new Disk();
        Select6(disk.Initiator, "00000000" + "0A0A24100000" + "0000FFFF0000").Good();
        var result = disk.Run("28 00 00000800 00 0001 01", null, 512);
        Assert.Equal("7205240000000008" + "02060000C0000900".Replace("C0", "C8", StringComparison.Ordinal), Convert.ToHexString(result.Sense));
        disk.Port.Fault = (_, _) => BlockStatus.IoError;
        var medium = disk.Run("28 00 00000005 00 0001 00", null, 512);
        Assert.Equal("720311000000000C" + "000A800000000000" + "00000005", Convert.ToHexString(medium.Sense));
    }

    [Fact]
    public void Software_write_protection_protects()
    {
        using var disk = new Disk();
        Select6(disk.Initiator, "00000000" + "0A0A20100800" + "0000FFFF0000").Good();
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Check(SenseKey.DataProtect, AdditionalSense.SoftwareWriteProtected);
        disk.Run("93 01 0000000000000000 00000001 00 00").Check(SenseKey.DataProtect, AdditionalSense.SoftwareWriteProtected);
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
        Assert.Equal(0x90, disk.Run("1A 08 08 00 FF 00", null, 255).Good().DataIn[2]);
        Select6(disk.Initiator, "00000000" + "0A0A20100000" + "0000FFFF0000").Good();
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
    }

    [Theory]
    [InlineData("00010000", 1, -1)] // medium type
    [InlineData("00000005" + "0000000000", 3, -1)] // block descriptor length
    [InlineData("00000008" + "0000070000000200", 4, -1)] // number of blocks
    [InlineData("00000008" + "0000080000001000", 9, -1)] // block length
    [InlineData("00000000" + "0313", 4, 6)] // no such page
    [InlineData("00000000" + "480100000000", 4, 6)] // no subpages
    [InlineData("00000000" + "0811", 5, -1)] // page length
    [InlineData("00000000" + "0A0A20110000" + "0000FFFF0000", 7, 0)] // not changeable
    [InlineData("00000000" + "0A0A20100000" + "0000FFFE0000", 13, 0)]
    public void Lists_with_wrong_values_are_refused(string list, int field, int bit)
    {
        using var disk = new Disk();
        Select6(disk.Initiator, list).IllegalParameter(field, bit);
    }

    [Theory]
    [InlineData("000000")]
    [InlineData("00000008" + "00000000")]
    [InlineData("00000000" + "08")]
    [InlineData("00000000" + "081204")]
    public void Lists_that_are_cut_off_are_refused(string list)
    {
        using var disk = new Disk();
        Select6(disk.Initiator, list).Check(SenseKey.IllegalRequest, AdditionalSense.ParameterListLengthError);
    }

    [Fact]
    public void A_list_with_a_wrong_page_changes_nothing()
    {
        using var disk = new Disk();
        Select6(disk.Initiator, "00000000" + "0A0A24100000" + "0000FFFF0000" + "0313").IllegalParameter(16, 6);
        Assert.Equal(0x20, Sense6(disk.Initiator, "0A")[2]);
    }

    [Fact]
    public void What_sense_gives_select_takes()
    {
        using var disk = new Disk();
        var data = disk.Run("1A 00 3F 00 FF 00", null, 255).Good();
        var list = data.DataIn[..(int)data.TransferredBytes];
        list[0] = 0;
        disk.Initiator.Run($"15 10 00 00 {list.Length:X2} 00", list).Good();
        var longData = disk.Run("5A 10 3F 00 00 00 00 01 00 00", null, 256).Good();
        disk.Initiator.Run($"55 10 00 00 00 00 00 {longData.TransferredBytes:X4} 00", longData.DataIn[..(int)longData.TransferredBytes]).Good();
    }
}
