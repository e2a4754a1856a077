using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing.DeviceModels.VirtioScsi;

namespace Vhost.VirtioScsi.Tests;

/// <summary>Scan, retries, task management, events, and HBAs that lie.</summary>
public sealed unsafe class HbaTests
{
    [Fact]
    public void Targets_are_found_and_described()
    {
        using var harness = new HbaHarness().Start();
        Assert.Equal(["Hba0t0", "Hba0t3"], harness.Bdevs.Bdevs.Keys.Order());
        var info = harness.Bdevs.Bdevs["Hba0t3"].Info;
        Assert.Equal((4096u, 4096ul, "S001"), (info.BlockSizeBytes, info.BlockCount, info.SerialNumber));
        Assert.True(info.HasVolatileWriteCache && info.HasForceUnitAccess && info.DiscardReadsZeroes);
        Assert.True(info.Operations.HasFlag(BlockOperations.Discard | BlockOperations.WriteZeroes));
        Assert.Contains("MSI-X", harness.LogText, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Guest_memory_is_not_bounced_whatever_its_alignment(bool isPacked)
    {
        using var harness = new HbaHarness(new VirtioScsiSettings { IsPacked = isPacked }).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        const int Length = 1 << 20;
        var source = harness.Guest + 1;
        var target = harness.Guest + (2 << 20) + 3;
        new Random(2).NextBytes(new Span<byte>(source, Length));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 8, Length / 512, source, Length, cuts: [1, 4096, 5001, 70000, 999_999]));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 8, Length / 512, target, Length, cuts: [7, 512, 300_000]));
        Assert.True(new Span<byte>(source, Length).SequenceEqual(new Span<byte>(target, Length)));
        Assert.Equal(0, harness.Bounced);
        Assert.Equal(0, harness.Model.Violations);
    }

    [Fact]
    public void Disks_at_other_LUNs_than_0_are_disks_of_their_own()
    {
        using var harness = new HbaHarness(bdevName: "Hba0t3l7");
        harness.Model.Add(3, 512, 1000, lun: 7);
        harness.Model.Add(4, 512, 2000, lun: 300); // flat space addressing, and no LUN 0
        harness.Start();
        Assert.Equal(["Hba0t0", "Hba0t3", "Hba0t3l7", "Hba0t4l300"], harness.Bdevs.Bdevs.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(2000ul, harness.Bdevs.Bdevs["Hba0t4l300"].Info.BlockCount);
        using (var driver = harness.Bdevs.Open())
        {
            var data = new byte[512];
            Random.Shared.NextBytes(data);
            Assert.Equal(BlockStatus.Success, driver.Write(999, data));
            Assert.Equal(data, driver.Read(999, 1));
        }

        harness.Model.Remove(3, lun: 7);
        harness.Bdevs.TurnUntil(() => !harness.Bdevs.Bdevs.ContainsKey("Hba0t3l7"), "the removal");
        Assert.Equal("Hba0t3l7: the disk is gone", Assert.Single(harness.Bdevs.Withdrawals));
    }

    [Fact]
    public void Missed_events_make_it_look_at_all_targets()
    {
        using var harness = new HbaHarness().Start();
        harness.Model.ReplaceUnseen(removed: 3, added: 6);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.ContainsKey("Hba0t6"), "the disk that came unseen");
        harness.Bdevs.TurnUntil(() => !harness.Bdevs.Bdevs.ContainsKey("Hba0t3"), "the disk that went unseen");
        Assert.Contains("events were missed", harness.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void A_flood_of_events_keeps_neither_requests_nor_aborts_nor_the_end_waiting()
    {
        var settings = new VirtioScsiSettings();
        using var harness = new HbaHarness(settings).Start();
        harness.Model.FloodsEvents = true;
        using (var driver = harness.Bdevs.Open())
        {
            driver.Read(0, 1);
            var left = 1;
            settings.OnCommand = (_, code) => code == 0x28 && left-- == 1 ? VirtioScsiFault.Hold : VirtioScsiFault.None;
            var data = stackalloc byte[512];
            Assert.Equal(BlockStatus.Aborted, driver.Run(BlockOperation.Read, 0, 1, data, 512));
        }

        harness.Bdevs.Dispose();
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    [Fact]
    public void Memory_that_the_device_does_not_reach_is_bounced_and_counted()
    {
        using var harness = new HbaHarness().Start();
        using var driver = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, driver.Write(1, new byte[4096]));
        Assert.True(harness.Bounced > 0);
    }

    [Fact]
    public void A_bar_that_emulated_hbas_lose_data_in_is_bounced_and_counted()
    {
        using var harness = new HbaHarness().Start();
        harness.AnnounceGuest(MemoryBackingKind.CopiedBar);
        using var driver = harness.Bdevs.Open();
        new Random(3).NextBytes(new Span<byte>(harness.Guest, 8192));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 8, 16, harness.Guest, 8192));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 8, 16, harness.Guest + 65536, 8192));
        Assert.True(new Span<byte>(harness.Guest, 8192).SequenceEqual(new Span<byte>(harness.Guest + 65536, 8192)));
        Assert.Equal(2, harness.Bounced);
    }

    [Theory]
    [InlineData(VirtioScsiFault.Busy)]
    [InlineData(VirtioScsiFault.TaskSetFull)]
    [InlineData(VirtioScsiFault.UnitAttention)]
    public void What_passes_is_tried_again_and_what_does_not_is_an_error(VirtioScsiFault fault)
    {
        var settings = new VirtioScsiSettings();
        using var harness = new HbaHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        var left = 3;
        settings.OnCommand = (_, code) => code == 0x28 && left-- > 0 ? fault : VirtioScsiFault.None;
        driver.Read(0, 1);
        settings.OnCommand = (_, code) => code == 0x28 ? fault : VirtioScsiFault.None;
        var before = harness.Model.Commands;
        var data = stackalloc byte[512];
        Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Read, 0, 1, data, 512));
        Assert.InRange(harness.Model.Commands - before, 2, 12);
        settings.OnCommand = null;
        driver.Read(0, 1);
    }

    [Theory]
    [InlineData(VirtioScsiFault.Short)]
    [InlineData(VirtioScsiFault.MediumError)]
    public void Data_that_is_short_or_lost_is_an_error(VirtioScsiFault fault)
    {
        var settings = new VirtioScsiSettings();
        using var harness = new HbaHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        settings.OnCommand = (_, code) => code is 0x28 or 0x2a ? fault : VirtioScsiFault.None;
        var data = stackalloc byte[1024];
        Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Read, 0, 2, data, 1024));
        Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Write, 0, 2, data, 1024));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
    }

    [Fact]
    public void Unmap_and_write_same_are_passed_through_in_pieces_that_the_disk_takes()
    {
        using var harness = new HbaHarness().Start();
        using var driver = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Discard, 0, 32768));
        Assert.Equal(4, harness.Model.Unmaps);
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 0, 32768));
        Assert.Equal(8, harness.Model.WriteSames);
        Assert.Equal(BlockStatus.OutOfRange, driver.Run(BlockOperation.Discard, 32767, 2));
    }

    [Fact]
    public void A_command_that_is_not_answered_is_aborted()
    {
        var settings = new VirtioScsiSettings();
        using var harness = new HbaHarness(settings).Start();
        using var driver = harness.Bdevs.Open();
        var left = 1;
        settings.OnCommand = (_, code) => code == 0x28 && left-- == 1 ? VirtioScsiFault.Hold : VirtioScsiFault.None;
        var data = stackalloc byte[512];
        var resets = harness.Model.Resets;
        Assert.Equal(BlockStatus.Aborted, driver.Run(BlockOperation.Read, 0, 1, data, 512));
        Assert.Equal(1, harness.Model.TaskAborts);
        Assert.Equal(resets, harness.Model.Resets);
        driver.Read(0, 1);
    }

    [Theory]
    [InlineData(VirtioScsiFault.Hold, false, "aborting it did not help")]
    [InlineData(VirtioScsiFault.ForeignId, false, "")]
    [InlineData(VirtioScsiFault.ForeignId, true, "")]
    [InlineData(VirtioScsiFault.Twice, false, "")]
    [InlineData(VirtioScsiFault.Twice, true, "")]
    [InlineData(VirtioScsiFault.Flood, false, "")]
    [InlineData(VirtioScsiFault.Flood, true, "")]
    public void An_HBA_that_lies_is_reset_and_each_request_ends_once(VirtioScsiFault fault, bool isPacked, string reason)
    {
        var settings = new VirtioScsiSettings { AbortsHeldCommands = false, IsPacked = isPacked };
        using var harness = new HbaHarness(settings).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        var left = 1;
        settings.OnCommand = (_, code) => code == 0x28 && left-- == 1 ? fault : VirtioScsiFault.None;
        for (var i = 0; i < 8; i++)
        {
            driver.Add(i, BlockOperation.Read, (ulong)i, 1, harness.Guest + (i * 4096), 512);
        }

        driver.Submit();
        driver.Wait();
        harness.AwaitLog("back after a reset");
        Assert.Contains(reason, harness.LogText, StringComparison.Ordinal);
        for (var i = 0; i < 8; i++)
        {
            Assert.True(driver.Request(i)->Status is BlockStatus.Success or BlockStatus.TimedOut, $"{driver.Request(i)->Status}");
        }

        driver.Read(0, 1);
        Assert.Empty(harness.Bdevs.Withdrawals);
    }

    [Fact]
    public void Disks_come_change_and_go()
    {
        using var harness = new HbaHarness().Start();
        harness.Model.Add(5, 512, 2048);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.ContainsKey("Hba0t5"), "the new disk");
        harness.Model.Resize(5, 1024);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Changes.Contains("Hba0t5"), "the resize");
        Assert.Equal(1024ul, harness.Bdevs.Bdevs["Hba0t5"].Info.BlockCount);
        harness.Model.Remove(5);
        harness.Bdevs.TurnUntil(() => !harness.Bdevs.Bdevs.ContainsKey("Hba0t5"), "the removal");
        using var driver = harness.Bdevs.Open();
        driver.Read(0, 1);
    }

    [Theory]
    [InlineData("capacity", "more than 2^63 bytes")]
    [InlineData("block 3", "block size is 3 bytes")]
    [InlineData("inquiry", "INQUIRY data are cut short (20 bytes)")]
    [InlineData("capacity cut", "capacity data are cut short")]
    public void A_disk_that_cannot_be_served_is_named_and_the_others_are_served(string what, string reason)
    {
        var settings = new VirtioScsiSettings { PatchData = (target, code, data) => target == 3 ? Patch(what, code, data) : data };
        using var harness = new HbaHarness(settings).Start();
        Assert.Equal("Hba0t0", Assert.Single(harness.Bdevs.Bdevs).Key);
        Assert.Contains("target 3, LUN 0 is not served: ", harness.LogText, StringComparison.Ordinal);
        Assert.Contains(reason, harness.LogText, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("common outside", "does not fit BAR 0")]
    [InlineData("notify outside", "does not fit BAR 0")]
    [InlineData("small BAR", "does not fit BAR 0")]
    [InlineData("no common", "no modern virtio interface")]
    [InlineData("loop", "it loops")]
    [InlineData("legacy", "VIRTIO_F_VERSION_1")]
    public void Wrong_structures_are_named(string what, string reason)
    {
        var settings = new VirtioScsiSettings
        {
            CommonOffset = what == "common outside" ? 0x7fff_f000u : 0,
            NotifyOffset = what == "notify outside" ? 0x7800u : 0x3000u,
            BarLengthBytes = what == "small BAR" ? 0x1000u : 0x8000u,
            HasCommonCapability = what != "no common",
            LoopsCapabilities = what == "loop",
            IsModern = what != "legacy",
        };
        using var harness = new HbaHarness(settings, attachTimeoutSeconds: 1).Start();
        harness.AwaitLog(reason);
        harness.AwaitLog("no usable virtio-scsi device within 1 s");
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    [Theory]
    [InlineData(0, 4u, 0x1048, "impossible size 0")]
    [InlineData(100, 4u, 0x1048, "impossible size 100")]
    [InlineData(1, 4u, 0x1048, "impossible size 1")]
    [InlineData(128, 1u, 0x1048, "1 request queues, but there are 2 reactors")]
    [InlineData(128, 0u, 0x1048, "claims 0 request queues")]
    [InlineData(128, uint.MaxValue, 0x1048, "claims 4294967295 request queues")]
    [InlineData(128, 4u, 0x1042, "not a SCSI host")]
    public void What_cannot_be_used_is_refused(int queueSize, uint queues, int deviceId, string reason)
    {
        using var harness = new HbaHarness(new VirtioScsiSettings { QueueSize = queueSize, RequestQueues = queues, DeviceId = (ushort)deviceId });
        var refusal = Assert.ThrowsAny<IOException>(() => harness.Start());
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    private static byte[] Patch(string what, byte code, byte[] data)
    {
        switch (what, code)
        {
            case ("capacity", 0x9e):
                // A disk of 0 blocks has no last block: it can only say -1.
                BinaryPrimitives.WriteUInt64BigEndian(data, ulong.MaxValue);
                return data;
            case ("block 3", 0x9e):
                BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(8), 3);
                return data;
            case ("inquiry", 0x12) when data[1] == 0 || data.Length == 36:
                return data[..20];
            case ("capacity cut", 0x9e):
                return data[..5];
            default:
                return data;
        }
    }
}
