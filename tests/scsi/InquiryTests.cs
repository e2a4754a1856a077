using System.Buffers.Binary;
using System.Text;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

public sealed class InquiryTests
{
    private static byte[] Page(Initiator initiator, byte page)
    {
        var data = initiator.Run($"12 01 {page:X2} 04 00 00", null, 1024).Good();
        var length = BinaryPrimitives.ReadUInt16BigEndian(data.DataIn.AsSpan(2)) + 4;
        Assert.Equal((ulong)length, data.TransferredBytes);
        Assert.Equal((0, page), (data.DataIn[0], data.DataIn[1]));
        return data.DataIn[..length];
    }

    private static IEnumerable<(int Association, int Type, byte[] Value)> Designators(byte[] page)
    {
        for (var i = 4; i < page.Length; i += 4 + page[i + 3])
        {
            yield return ((page[i + 1] >> 4) & 3, page[i + 1] & 0x0F, page[(i + 4)..(i + 4 + page[i + 3])]);
        }
    }

    [Fact]
    public void Standard_data_names_the_disk()
    {
        using var disk = new Disk();
        var data = disk.Run("12 00 00 00 60 00", null, 96).Good().DataIn;
        Assert.Equal([0x00, 0x00, 0x06, 0x12, 91, 0x18, 0x10, 0x02], data[..8]);
        Assert.Equal("VHOSTD  Memory disk     0100", Encoding.ASCII.GetString(data[8..36]));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(5, 5)]
    [InlineData(36, 36)]
    [InlineData(96, 96)]
    [InlineData(255, 96)]
    public void Data_is_cut_to_the_allocation_length(int allocation, int expected)
    {
        using var disk = new Disk();
        var result = disk.Run($"12 00 00 {allocation:X4} 00", null, 255).Good();
        Assert.Equal((ulong)expected, result.TransferredBytes);
        Assert.All(result.DataIn[expected..], value => Assert.Equal(0xEE, value));
    }

    [Fact]
    public void A_buffer_that_is_shorter_than_the_data_is_an_overrun()
    {
        using var disk = new Disk();
        Assert.Equal(ServiceResponse.Overrun, disk.Run("12 00 00 00 FF 00", null, 95).Response);
        disk.Run("12 00 00 00 FF 00", null, 96).Good();
        disk.Run("12 00 00 00 24 00", null, 36).Good();
    }

    [Fact]
    public void Each_page_of_the_list_is_there_and_no_other()
    {
        using var disk = new Disk();
        var list = Page(disk.Initiator, 0)[4..];
        Assert.Equal([0x00, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2], list);
        for (var page = 0; page < 256; page++)
        {
            if (list.Contains((byte)page))
            {
                Page(disk.Initiator, (byte)page);
            }
            else
            {
                disk.Run($"12 01 {page:X2} 04 00 00", null, 1024).IllegalField(2);
            }
        }
    }

    [Fact]
    public void A_page_without_the_page_bit_is_refused()
    {
        using var disk = new Disk();
        disk.Run("12 00 80 00 FF 00", null, 255).IllegalField(2);
    }

    [Fact]
    public void The_serial_number_is_the_bdevs_or_its_name()
    {
        using var disk = new Disk();
        Assert.Equal("Disk0", Encoding.ASCII.GetString(Page(disk.Initiator, 0x80)[4..]));
        disk.Port.Change(disk.Port.Info! with { SerialNumber = "S1\u00e9" }, BdevChange.Changed);
        Assert.Equal("S1_", Encoding.ASCII.GetString(Page(disk.Initiator, 0x80)[4..]));
    }

    [Fact]
    public void Identity_is_the_same_at_each_port_and_after_a_restart()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other");
        using var restarted = new Initiator(new LogicalUnitRegistry(), disk.Port);
        using var elsewhere = new Initiator(new LogicalUnitRegistry(), disk.Port, identity: "another machine");
        var mine = Designators(Page(disk.Initiator, 0x83)).ToArray();
        var its = Designators(Page(other, 0x83)).ToArray();
        Assert.Equal(mine.Where(d => d.Association == 0).Select(d => Convert.ToHexString(d.Value)), its.Where(d => d.Association == 0).Select(d => Convert.ToHexString(d.Value)));
        Assert.NotEqual(mine.Single(d => d is (1, 3, _)).Value, its.Single(d => d is (1, 3, _)).Value);
        Assert.NotEqual(mine.Single(d => d is (1, 4, _)).Value, its.Single(d => d is (1, 4, _)).Value);
        Assert.Equal(Page(disk.Initiator, 0x83), Page(restarted, 0x83));
        var naa = mine.Single(d => d is (0, 3, _)).Value;
        Assert.Equal(8, naa.Length);
        Assert.Equal(3, naa[0] >> 4);
        Assert.NotEqual(naa, Designators(Page(elsewhere, 0x83)).Single(d => d is (0, 3, _)).Value);
    }

    [Fact]
    public void One_disk_has_one_identity()
    {
        using var disk = new Disk();
        Assert.Throws<ArgumentException>(() => new Initiator(disk.Registry, disk.Port, "other", identity: "another machine"));
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
    }

    [Fact]
    public void A_uuid_makes_the_identity_where_there_is_one()
    {
        using var disk = new Disk();
        var uuid = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");
        disk.Port.Change(disk.Port.Info! with { Uuid = uuid }, BdevChange.Changed);
        var designator = Designators(Page(disk.Initiator, 0x83)).Single(d => d is (0, 0x0A, _)).Value;
        Assert.Equal("100000112233445566778899AABBCCDDEEFF", Convert.ToHexString(designator));
        using var copy = new MemoryBdevPort("Another name");
        copy.Change(copy.Info! with { Uuid = uuid }, BdevChange.Changed);
        using var elsewhere = new Initiator(new LogicalUnitRegistry(), copy, identity: "another machine");
        Assert.Equal(
            Designators(Page(disk.Initiator, 0x83)).Single(d => d is (0, 3, _)).Value,
            Designators(Page(elsewhere, 0x83)).Single(d => d is (0, 3, _)).Value);
    }

    [Fact]
    public void Block_limits_are_those_that_are_enforced()
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { PhysicalBlockSizeBytes = 4096, OptimalTransferBlocks = 64, DiscardGranularityBlocks = 8 }, BdevChange.Changed);
        var page = Page(disk.Initiator, 0xB0);
        Assert.Equal(64, page.Length);
        Assert.Equal((1, 128), (page[4], page[5]));
        Assert.Equal(8, BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(6)));
        Assert.Equal(131072u, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(8)));
        Assert.Equal(64u, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(12)));
        Assert.Equal(67108864u, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(20)));
        Assert.Equal(256u, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(24)));
        Assert.Equal(8u, BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(28)));
        Assert.Equal(2097152UL, BinaryPrimitives.ReadUInt64BigEndian(page.AsSpan(36)));
    }

    [Fact]
    public void Rotation_and_provisioning_are_told()
    {
        using var disk = new Disk();
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(Page(disk.Initiator, 0xB1).AsSpan(4)));
        Assert.Equal([0x00, 0xE4, 0x02, 0x00], Page(disk.Initiator, 0xB2)[4..]);
        Assert.Equal(1, Page(disk.Initiator, 0x86)[6]);
    }

    [Fact]
    public void All_ports_of_a_shared_unit_are_listed()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other");
        var page = Page(disk.Initiator, 0x88);
        Assert.Equal(4 + (2 * (12 + 12)), page.Length);
        Assert.NotEqual(page[7], page[7 + 24]);
    }

    [Fact]
    public void A_number_without_a_unit_says_so()
    {
        using var disk = new Disk();
        var initiator = disk.Initiator;
        Assert.Equal(0x7F, initiator.Run(Convert.FromHexString("120000006000"), null, 96, lun: 1).Good().DataIn[0]);
        Assert.Equal([0x7F, 0, 0, 1, 0], initiator.Run(Convert.FromHexString("12010000FF00"), null, 255, lun: 1).Good().DataIn[..5]);
        initiator.Run(Convert.FromHexString("000000000000"), null, 0, lun: 1).Check(SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        initiator.Run(Convert.FromHexString("28000000000000000100"), null, 512, lun: 1).Check(SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        var sense = initiator.Run(Convert.FromHexString("03000000FF00"), null, 255, lun: 1).Good().DataIn;
        Assert.Equal((5, 0x25), (sense[2], sense[12]));
        Assert.Equal(16UL, initiator.Run(Convert.FromHexString("A00000000000000000FF0000"), null, 255, lun: 1).Good().TransferredBytes);
    }

    [Fact]
    public void A_unit_without_a_bdev_is_no_unit()
    {
        using var disk = new Disk();
        disk.Port.Change(null, BdevChange.Removed);
        Assert.Equal(0x7F, disk.Run("12 00 00 00 60 00", null, 96).Good().DataIn[0]);
        disk.Run("28 00 00000000 00 0001 00", null, 512).Check(SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        Assert.Equal(8UL, disk.Run("A0 00 00 000000 00000100 00 00", null, 256).Good().TransferredBytes);
    }

    [Fact]
    public void Luns_are_reported()
    {
        using var disk = new Disk();
        using var second = new MemoryBdevPort("Disk1");
        disk.Initiator.Target.Attach(5, second, null);
        Assert.Equal("0000001000000000" + "0000000000000000" + "0005000000000000", Hex("A0 00 00 000000 00000100 00 00"));
        Assert.Equal("0000000800000000" + "C101000000000000", Hex("A0 00 01 000000 00000100 00 00"));
        Assert.Equal("0000001800000000" + "0000000000000000" + "0005000000000000" + "C101000000000000", Hex("A0 00 02 000000 00000100 00 00"));
        Assert.Equal("00000010000000000000000000000000", Hex("A0 00 00 000000 00000010 00 00"));
        disk.Run("A0 00 03 000000 00000100 00 00", null, 256).IllegalField(2);
        disk.Run("A0 00 00 000000 0000000F 00 00", null, 256).IllegalField(6);

        string Hex(string cdb)
        {
            var result = disk.Run(cdb, null, 256).Good();
            return Convert.ToHexString(result.DataIn[..(int)result.TransferredBytes]);
        }
    }

    [Fact]
    public void Capacity_is_told()
    {
        using var disk = new Disk(4096, 1000);
        Assert.Equal("000003E700001000", Convert.ToHexString(disk.Run("25 00 00000000 00 0000 00", null, 8).Good().DataIn));
        Assert.Equal(
            "00000000000003E700001000" + "0000C000" + "00000000000000000000000000000000",
            Convert.ToHexString(disk.Run("9E 10 0000000000000000 00000020 00 00", null, 32).Good().DataIn));
        disk.Port.IsNull = true;
        disk.Port.Change(disk.Port.Info! with { PhysicalBlockSizeBytes = 16384 }, BdevChange.Changed);
        disk.Run("00 00 00 00 00 00");
        Assert.Equal(2, disk.Run("9E 10 0000000000000000 00000020 00 00", null, 32).Good().DataIn[13]);
        Assert.Equal(12UL, disk.Run("9E 10 0000000000000000 0000000C 00 00", null, 32).Good().TransferredBytes);
    }
}
