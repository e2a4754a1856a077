using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

public sealed class UnitAttentionTests
{
    [Fact]
    public void Three_commands_do_not_report_and_do_not_clear()
    {
        using var disk = new Disk(settle: false);
        disk.Run("12 00 00 00 60 00", null, 96).Good();
        disk.Run("A0 00 00 000000 00000010 00 00", null, 16).Good();
        disk.Run("28 00 00000000 00 0001 00", null, 512).Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
    }

    [Fact]
    public void Request_sense_reports_as_data_and_clears()
    {
        using var disk = new Disk(settle: false);
        var sense = disk.Run("03 00 00 00 FF 00", null, 255).Good();
        Assert.Equal(18UL, sense.TransferredBytes);
        Assert.Equal((0x70, 6, 0x29), (sense.DataIn[0], sense.DataIn[2], sense.DataIn[12]));
        var descriptor = disk.Run("03 01 00 00 FF 00", null, 255).Good();
        Assert.Equal("7200000000000000", Convert.ToHexString(descriptor.DataIn[..(int)descriptor.TransferredBytes]));
        disk.Run("00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Attentions_come_one_by_one_the_gravest_first()
    {
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        disk.Port.Change(disk.Port.Info! with { BlockCount = 8192 }, BdevChange.Resized);
        disk.Port.Change(disk.Port.Info! with { ProductName = "Other" }, BdevChange.Changed);
        disk.Initiator.Nexus.Unit.Reset();
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.BusDeviceReset);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.InquiryDataChanged);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.CapacityChanged);
        disk.Run("00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Each_initiator_is_told_of_a_resize()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
        disk.Port.Change(disk.Port.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.CapacityChanged);
        other.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.CapacityChanged);
        disk.Run("28 00 00000FFF 00 0001 00", null, 512).Good();
    }

    [Fact]
    public void A_reset_initiator_forgets_alone()
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
        disk.Port.Change(disk.Port.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        disk.Initiator.Target.OnPowerOn();
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("00 00 00 00 00 00").Good();
        other.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.CapacityChanged);
        other.Run("00 00 00 00 00 00").Good();
        disk.Initiator.Target.OnNexusReset();
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.NexusLoss);
    }

    [Fact]
    public void An_invalid_command_comes_after_the_attention()
    {
        using var disk = new Disk(settle: false);
        disk.Run("FF 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("FF 00 00 00 00 00").Check(SenseKey.IllegalRequest, AdditionalSense.InvalidOperationCode);
    }

    [Fact]
    public void Removal_and_return_reset_everything()
    {
        using var disk = new Disk();
        var info = disk.Port.Info!;
        disk.Run("1B 00 00 00 00 00").Good();
        disk.Port.Change(null, BdevChange.Removed);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.IllegalRequest, AdditionalSense.LogicalUnitNotSupported);
        disk.Port.Change(info, BdevChange.Appeared);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
        disk.Run("00 00 00 00 00 00").Good();
    }

    [Fact]
    public void A_stopped_unit_is_not_ready_until_it_is_started()
    {
        using var disk = new Disk();
        disk.Run("1B 00 00 00 00 00").Good();
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Flush]);
        foreach (var cdb in (string[])["00 00 00 00 00 00", "28 00 00000000 00 0001 00", "2A 00 00000000 00 0001 00", "25 00 00000000 00 0000 00"])
        {
            disk.Run(cdb, new byte[512], 512).Check(SenseKey.NotReady, AdditionalSense.InitializingCommandRequired);
        }

        disk.Run("12 00 00 00 60 00", null, 96).Good();
        Assert.Equal((2, 4), (disk.Run("03 00 00 00 FF 00", null, 255).Good().DataIn[2], disk.Run("03 00 00 00 FF 00", null, 255).Good().DataIn[12]));
        disk.Run("1B 00 00 00 01 00").Good();
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
        disk.Run("1B 00 00 00 04 00").Good(); // NO_FLUSH
        Assert.Equal(1, disk.Port.Counts[(int)BlockOperation.Flush]);
        disk.Initiator.Target.OnPowerOn();
        disk.Initiator.Settle();
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
        disk.Run("1B 00 00 00 02 00").IllegalField(4, 1); // nothing to eject
        disk.Run("1B 00 00 00 20 00").IllegalField(4, 7); // no such power condition
        disk.Run("1B 00 00 00 10 00").Good();
    }

    [Theory]
    [InlineData("16 00 00 00 00 00", "17 00 00 00 00 00")]
    [InlineData("56 00 00 00 00 00 00 00 00 00", "57 00 00 00 00 00 00 00 00 00")]
    public void Reserve_keeps_others_out_until_release_or_reset(string reserve, string release)
    {
        using var disk = new Disk();
        using var other = new Initiator(disk.Registry, disk.Port, "other").Settle();
        disk.Run(reserve).Good();
        disk.Run(reserve).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, other.Run("28 00 00000000 00 0001 00", null, 512).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, other.Run(reserve).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, other.Run("00 00 00 00 00 00").Status);
        other.Run("12 00 00 00 60 00", null, 96).Good();
        other.Run(release).Good();
        disk.Run("2A 00 00000000 00 0001 00", new byte[512]).Good();
        Assert.Equal(ScsiStatus.ReservationConflict, other.Run("2A 00 00000000 00 0001 00", new byte[512]).Status);
        disk.Run(release).Good();
        other.Run("28 00 00000000 00 0001 00", null, 512).Good();

        other.Run(reserve).Good();
        other.Target.OnPowerOn();
        disk.Run("28 00 00000000 00 0001 00", null, 512).Good();
    }

    [Fact]
    public void A_unit_that_comes_or_goes_changes_the_list_for_the_others()
    {
        using var disk = new Disk();
        using var second = new MemoryBdevPort("Disk1");
        disk.Initiator.Target.Attach(1, second, null);
        var info = second.Info;
        second.Change(null, BdevChange.Removed);
        disk.Run("00 00 00 00 00 00").Check(SenseKey.UnitAttention, AdditionalSense.ReportedLunsChanged);
        disk.Run("00 00 00 00 00 00").Good();
        second.Change(info, BdevChange.Appeared);

        // Who asks for the list knows it.
        Assert.Equal(16, disk.Run("A0 00 00 000000 00000100 00 00", null, 256).Good().DataIn[3]);
        disk.Run("00 00 00 00 00 00").Good();
        disk.Initiator.Run([0, 0, 0, 0, 0, 0], null, 0, 1).Check(SenseKey.UnitAttention, AdditionalSense.PowerOnOrReset);
    }
}
