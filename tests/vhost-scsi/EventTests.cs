using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

public sealed class EventTests
{
    private const uint TransportReset = 1;
    private const uint ParameterChange = 3;
    private const uint Missed = 0x8000_0000;

    private static ScsiGuest Guest(MemoryBdevPort disk, ulong features = ScsiGuest.Hotplug | ScsiGuest.Change)
        => new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [9] = disk }, features: features).Settle(9);

    [Fact]
    public void A_resize_is_an_event_and_a_unit_attention()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var buffer = guest.PostEventBuffer();
        guest.TurnUntilIdle();
        Assert.False(guest.IsAnswered(buffer));
        disk.Change(disk.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        Assert.Equal((ParameterChange, ScsiGuest.EventLun(9), 0x092Au), guest.ReceiveEvent(buffer));
        guest.Command(9, "00 00 00 00 00 00").Check(6, 0x2A09);
        Assert.Equal("00000FFF", Convert.ToHexString(guest.Command(9, "25 00 00000000 00 0000 00", null, 8).Good().DataIn[..4]));
    }

    [Fact]
    public void A_change_of_the_devices_health_is_no_event()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var buffer = guest.PostEventBuffer();
        disk.Change(disk.Info! with { LifeUsedPercent = 5, Warning = "old" }, BdevChange.Warned);
        guest.TurnUntilIdle();
        Assert.False(guest.IsAnswered(buffer));
        guest.Command(9, "00 00 00 00 00 00").Good();
        Assert.Equal(5, guest.Command(9, "4D 00 51 00 00 0000 0010 00", null, 16).Good().DataIn[11]);
    }

    [Fact]
    public void A_disk_goes_and_comes_back()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var first = guest.PostEventBuffer();
        var second = guest.PostEventBuffer();
        var info = disk.Info!;
        disk.Change(null, BdevChange.Removed);
        Assert.Equal((TransportReset, ScsiGuest.EventLun(9), 2u), guest.ReceiveEvent(first));
        Assert.Equal(3, guest.Command(9, "00 00 00 00 00 00").Response);
        disk.Change(info, BdevChange.Appeared);
        Assert.Equal((TransportReset, ScsiGuest.EventLun(9), 1u), guest.ReceiveEvent(second));
        guest.Settle(9);
        guest.Command(9, "28 00 00000000 00 0001 00", null, 512).Good();
    }

    [Fact]
    public void Events_without_a_buffer_are_missed_and_that_is_told()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        disk.Change(disk.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        guest.TurnUntilIdle();
        var first = guest.PostEventBuffer();
        var second = guest.PostEventBuffer();
        Assert.Equal(Missed, guest.ReceiveEvent(first).Event);

        // Both came in one batch; the second one goes back empty or waits for an event, but says nothing of events that were missed.
        disk.Change(disk.Info! with { BlockCount = 8192 }, BdevChange.Resized);
        guest.TurnUntilIdle();
        Assert.Equal(0u, guest.ReceiveEvent(second).Event & Missed);
    }

    [Fact]
    public void A_stopped_event_queue_misses_events_too()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var stop = guest.Stop(guest.Queues[1]);
        disk.Change(disk.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        guest.Start(guest.Queues[1], stop.State);
        Assert.Equal(Missed, guest.ReceiveEvent(guest.PostEventBuffer()).Event);
    }

    [Fact]
    public void Drivers_that_did_not_ask_are_not_told()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk, ScsiGuest.Hotplug);
        var buffer = guest.PostEventBuffer();
        disk.Change(disk.Info! with { BlockCount = 4096 }, BdevChange.Resized);
        guest.TurnUntilIdle();
        Assert.False(guest.IsAnswered(buffer));
        disk.Change(null, BdevChange.Removed);
        Assert.Equal((TransportReset, ScsiGuest.EventLun(9), 2u), guest.ReceiveEvent(buffer));
    }

    [Fact]
    public void A_target_may_be_empty_at_first()
    {
        using var disk = new MemoryBdevPort();
        var info = disk.Info!;
        disk.Change(null, BdevChange.Removed);
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk });
        Assert.Equal(3, guest.Command(0, "12 00 00 00 60 00", null, 96).Response);
        var buffer = guest.PostEventBuffer();
        disk.Change(info, BdevChange.Appeared);
        Assert.Equal((TransportReset, ScsiGuest.EventLun(0), 1u), guest.ReceiveEvent(buffer));
        guest.Command(0, "12 00 00 00 60 00", null, 96).Good();
    }
}
