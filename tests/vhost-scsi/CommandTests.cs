using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

public sealed class CommandTests
{
    private static byte[] Pattern(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        return data;
    }

    public static TheoryData<VirtqueueFormat, int, int, bool> Layouts => new()
    {
        { VirtqueueFormat.Split, 0, 0, false },
        { VirtqueueFormat.Split, 128, 0, true },
        { VirtqueueFormat.Split, 128, 7, false },
        { VirtqueueFormat.Split, 128, 100, true },
        { VirtqueueFormat.Packed, 0, 0, false },
        { VirtqueueFormat.Packed, 128, 50, true },
        { VirtqueueFormat.Packed, 128, 511, true },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void What_is_written_is_read_in_any_layout(VirtqueueFormat format, int tableEntries, int pieceLength, bool joins)
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [3] = disk }, format: format, tableEntries: tableEntries);
        guest.Settle(3);
        guest.PieceLength = pieceLength;
        guest.JoinsHeaderAndData = joins;
        var data = Pattern(512);
        var write = guest.Command(3, "2A 00 00000005 00 0001 00", data).Good();
        Assert.Equal((0u, 0u, 108u), (write.SenseLength, write.Residual, write.WrittenBytes));
        Assert.Equal(data, disk.Data.Slice(5 * 512, 512).ToArray());
        var read = guest.Command(3, "28 00 00000005 00 0001 00", null, 512).Good();
        Assert.Equal(data, read.DataIn);
        Assert.Equal(108u + 512, read.WrittenBytes);

        // Sense data, in any layout of the header.
        guest.Command(3, "28 00 00000800 00 0001 00", null, 512).Check(5, 0x2100);
    }

    [Fact]
    public void Residuals_count_what_was_not_used()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var inquiry = guest.Command(0, "12 00 00 00 FF 00", null, 255).Good();
        Assert.Equal((255u - 96, 108u + 96), (inquiry.Residual, inquiry.WrittenBytes));
        Assert.Equal(1024u, guest.Command(0, "28 00 00000000 00 0002 00", null, 2048).Good().Residual);
        Assert.Equal(512u, guest.Command(0, "2A 00 00000000 00 0001 00", new byte[1024]).Good().Residual);
        var failed = guest.Command(0, "28 00 00000800 00 0001 00", null, 512).Check(5, 0x2100);
        Assert.Equal((512u, 108u), (failed.Residual, failed.WrittenBytes));
        var overrun = guest.Command(0, "28 00 00000000 00 0002 00", null, 1023);
        Assert.Equal((1, 1023u), (overrun.Response, overrun.Residual));
    }

    [Fact]
    public void Addresses_without_a_unit_are_told_apart()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [7] = disk }).Settle(7);
        Assert.Equal(3, guest.Command(6, "00 00 00 00 00 00").Response);
        Assert.Equal(3, guest.CommandTo(ScsiGuest.Lun(7) + 1, "00 00 00 00 00 00").Response);
        guest.CommandTo(ScsiGuest.Lun(7, 1), "00 00 00 00 00 00").Check(5, 0x2500);
        guest.CommandTo(ScsiGuest.Lun(7) | (1UL << 40), "00 00 00 00 00 00").Check(5, 0x2500);
        Assert.Equal(0x7F, guest.CommandTo(ScsiGuest.Lun(7, 256), "12 00 00 00 60 00", null, 96).Good().DataIn[0]);
        guest.CommandTo(1UL | (7UL << 8), "00 00 00 00 00 00").Good(); // peripheral addressing
        var wellKnown = 1UL | (7UL << 8) | (0xC1UL << 16) | (0x01UL << 24);
        Assert.Equal(0x1E, guest.CommandTo(wellKnown, "12 00 00 00 60 00", null, 96).Good().DataIn[0]);
        Assert.Equal(16u - 8, guest.CommandTo(wellKnown, "A0 00 00 000000 00000010 00 00", null, 16).Good().DataIn[3]);
        guest.CommandTo(wellKnown, "28 00 00000000 00 0001 00", null, 512).Check(5, 0x2000);
    }

    [Fact]
    public void All_256_targets_serve_their_own_disk()
    {
        var disks = Enumerable.Range(0, 256).ToDictionary(i => (byte)i, i => new MemoryBdevPort($"Disk{i}", 512, 16));
        using (var guest = new ScsiGuest(disks, requestQueues: 2, size: 1024))
        {
            guest.Settle([.. disks.Keys]);
            var tokens = disks.Keys.Select(target =>
            {
                var data = new byte[512];
                data.AsSpan().Fill(target);
                return guest.Send(ScsiGuest.Lun(target), "2A 00 00000001 00 0001 00", data, queue: target % 2);
            }).ToArray();
            Assert.All(tokens, token => guest.ReceiveAnswer(token).Good());
            Assert.All(disks, disk => Assert.Equal(disk.Key, disk.Value.Data[512 + 100]));
        }

        Assert.All(disks.Values, disk => Assert.Equal(0, disk.ChannelCount));
        Assert.All(disks.Values, disk => disk.Dispose());
    }

    [Fact]
    public void Queues_on_several_reactors_work_side_by_side()
    {
        using var disk = new MemoryBdevPort("Disk0", 512, 4096);
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }, requestQueues: 6, reactors: 3).Settle(0);
        var data = Pattern(512);
        for (var round = 0; round < 20; round++)
        {
            var tokens = Enumerable.Range(0, 60).Select(i => guest.Send(ScsiGuest.Lun(0), $"2A 00 {i:X8} 00 0001 00", data, queue: i % 6)).ToArray();
            Assert.All(tokens, token => guest.ReceiveAnswer(token).Good());
        }

        Assert.Equal(1200, disk.Counts[(int)BlockOperation.Write]);
    }

    [Fact]
    public void A_batch_is_submitted_at_once()
    {
        using var disk = new MemoryBdevPort();
        using var other = new MemoryBdevPort("Other");
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk, [1] = other }).Settle(0, 1);
        var tokens = Enumerable.Range(0, 16).Select(i => guest.Send(ScsiGuest.Lun((byte)(i % 2)), "28 00 00000000 00 0001 00", null, 512)).ToArray();
        Assert.All(tokens, token => guest.ReceiveAnswer(token).Good());
        Assert.Equal((1, 1), (disk.BatchCount, other.BatchCount));
    }

    [Fact]
    public void Long_commands_of_many_steps_do_not_disturb_others()
    {
        using var disk = new MemoryBdevPort("Disk0", 512, 600_000);
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var block = Pattern(512);
        var same = guest.Send(ScsiGuest.Lun(0), "93 00 0000000000000000 00080000 00 00", block); // 2048 steps
        var read = guest.Send(ScsiGuest.Lun(0), "28 00 00090000 00 0001 00", null, 512);
        guest.ReceiveAnswer(read).Good();
        guest.ReceiveAnswer(same).Good();
        Assert.True(disk.Data.Slice(0x7FFFF * 512, 512).SequenceEqual(block));
        Assert.Equal(0, disk.Data[0x80000 * 512]);
    }

    [Fact]
    public void Commands_that_need_memory_of_the_host_are_bounded()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }, size: 128).Settle(0);
        disk.IsDeferring = true;
        var tokens = Enumerable.Range(0, 40).Select(_ => guest.Send(ScsiGuest.Lun(0), "2F 00 00000000 00 0001 00")).ToArray();
        guest.Until(() => disk.PendingCount == 32);
        guest.TurnUntilIdle();
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        var statuses = tokens.Select(token => guest.ReceiveAnswer(token).Status).ToArray();
        Assert.Equal(32, statuses.Count(status => status == 0));
        Assert.Equal(8, statuses.Count(status => status == 8)); // BUSY: to be repeated
        disk.IsDeferring = false;
        guest.Command(0, "2F 00 00000000 00 0001 00").Good();
    }

    [Theory]
    [InlineData(50, 108, 9)] // no whole request
    [InlineData(51, 107, 9)] // no room for the whole response
    [InlineData(51, 12, 9)]
    public void Requests_that_are_too_short_fail(int headerLength, int responseLength, int response)
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var token = guest.Send(ScsiGuest.Lun(0), "00 00 00 00 00 00", responseLength: responseLength, headerLength: headerLength);
        var bytes = guest.Receive(token, out var written);
        Assert.Equal((12u, response), (written, bytes[11]));
        guest.Command(0, "00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Features_and_configuration_are_those_of_a_scsi_host()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }, requestQueues: 5);
        var device = guest.Device;
        Assert.Equal((8u, 7, false), (device.DeviceId, device.MaxQueueCount, device.RequiresConfigAccess));
        Assert.Equal(ScsiGuest.Hotplug | ScsiGuest.Change, device.OfferedFeatures & 0xF);
        var config = new byte[40];
        device.ReadConfig(0, config);
        Assert.Equal(5u, BitConverter.ToUInt32(config));
        Assert.Equal((16u, 96u, 32u), (BitConverter.ToUInt32(config, 16), BitConverter.ToUInt32(config, 20), BitConverter.ToUInt32(config, 24)));
        Assert.Equal((255, 16383u, 0u), (BitConverter.ToUInt16(config, 30), BitConverter.ToUInt32(config, 32), BitConverter.ToUInt32(config, 36)));
        Assert.False(device.WriteConfig(0, [1, 0, 0, 0]));
        Assert.False(device.WriteConfig(26, [1, 0, 0, 0]));
        Assert.False(device.WriteConfig(20, [0, 1, 0, 0])); // 256 bytes of sense data
        Assert.True(device.WriteConfig(20, [20, 0, 0, 0, 16, 0, 0, 0]));
        device.ReadConfig(20, config.AsSpan(0, 8));
        Assert.Equal((20u, 16u), (BitConverter.ToUInt32(config), BitConverter.ToUInt32(config, 4)));
        guest.Session.ResetDevice();
        device.ReadConfig(20, config.AsSpan(0, 4));
        Assert.Equal(96u, BitConverter.ToUInt32(config));
    }

    [Fact]
    public void The_drivers_sizes_of_cdb_and_sense_are_used()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        guest.Stop(guest.Queues[2]);
        Assert.True(guest.Device.WriteConfig(20, [20, 0, 0, 0, 16, 0, 0, 0]));
        var queue = new GuestQueue(guest.Ram, VirtqueueFormat.Split, 64, guest.Features, 0, 2);
        guest.Queues[2] = queue;
        guest.Start(queue);
        var data = Pattern(512);
        data.CopyTo(disk.Data);
        var read = guest.ReceiveAnswer(guest.Send(ScsiGuest.Lun(0), "88 00 0000000000000000 00000001 00 00", null, 512, responseLength: 32, headerLength: 35));
        Assert.Equal(data, read.Good().DataIn);
        var failed = guest.ReceiveAnswer(guest.Send(ScsiGuest.Lun(0), "88 00 FF00000000000000 00000001 00 00", null, 512, responseLength: 32, headerLength: 35));
        failed.Check(5, 0x2100);
    }

    [Fact]
    public void A_new_initiator_begins_with_a_unit_attention()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        guest.Command(0, "00 00 00 00 00 00").Good();
        guest.Session.ResetDevice();
        guest.Settle(0);
    }

    [Fact]
    public void Stopping_waits_for_what_is_under_way()
    {
        using var disk = new MemoryBdevPort { IsDeferring = true };
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var token = guest.Send(ScsiGuest.Lun(0), "28 00 00000000 00 0001 00", null, 512);
        guest.Until(() => disk.PendingCount == 1);
        var stop = guest.Session.StopQueueAsync(2, TestContext.Current.CancellationToken).AsTask();
        guest.TurnUntilIdle();
        Assert.False(stop.IsCompleted);
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        Assert.Equal(0, guest.Run(stop).AbandonedRequestCount);
        guest.ReceiveAnswer(token).Good();
        Assert.Equal(0, disk.ChannelCount);
    }

    [Fact]
    public void A_queue_that_was_given_up_touches_nothing()
    {
        using var disk = new MemoryBdevPort { IsDeferring = true };
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var read = guest.Send(ScsiGuest.Lun(0), "28 00 00000000 00 0001 00", null, 512);
        var verify = guest.Send(ScsiGuest.Lun(0), "2F 00 00000000 00 0400 00");
        guest.Until(() => disk.PendingCount == 2);
        var stop = guest.Stop(guest.Queues[2], TimeSpan.FromMilliseconds(50));
        Assert.Equal(2, stop.AbandonedRequestCount);
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        guest.TurnUntilIdle();
        Assert.False(guest.IsAnswered(read));
        Assert.False(guest.IsAnswered(verify));
        Assert.Equal(0, disk.PendingCount);
    }

    [Fact]
    public void Commands_of_32_bytes_are_refused_where_the_driver_made_room_for_them()
    {
        // READ, WRITE, VERIFY, WRITE AND VERIFY and WRITE SAME (32) are for type 2 protection, which is not offered.
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        guest.Stop(guest.Queues[2]);
        Assert.True(guest.Device.WriteConfig(24, [32, 0, 0, 0]));
        var queue = new GuestQueue(guest.Ram, VirtqueueFormat.Split, 64, guest.Features, 0, 2);
        guest.Queues[2] = queue;
        guest.Start(queue);
        foreach (var action in (string[])["0009", "000B", "000A", "000C", "000D"])
        {
            var token = guest.Send(ScsiGuest.Lun(0), $"7F 00 00 00 00 00 00 18 {action} 00 00" + string.Concat(Enumerable.Repeat("00", 20)), new byte[512], 0, headerLength: 67);
            guest.ReceiveAnswer(token).Check(5, 0x2000);
        }

        Assert.Equal(1, guest.ReceiveAnswer(guest.Send(ScsiGuest.Lun(0), "A3 0C 01 7F 0000 00000010 00 00", null, 16, headerLength: 67)).Good().DataIn[1] & 7);
        guest.ReceiveAnswer(guest.Send(ScsiGuest.Lun(0), "2A 00 00000000 00 0001 00", new byte[512], 0, headerLength: 67)).Good();
    }
}
