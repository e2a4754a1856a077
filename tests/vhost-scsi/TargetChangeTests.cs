using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

/// <summary>Targets that come and go while the guest runs.</summary>
public sealed class TargetChangeTests
{
    private const uint TransportReset = 1;
    private const int BadTarget = 3;
    private const int Reset = 4;
    private const string Read = "28 00 00000000 00 0001 00";

    private static readonly ulong Fifth = ScsiGuest.Lun(5);

    private static ITargetDevice Targets(ScsiGuest guest) => (ITargetDevice)guest.Device;

    private static bool Remove(ScsiGuest guest, int number) => guest.Run(Targets(guest).RemoveTargetAsync(number, TestContext.Current.CancellationToken).AsTask());

    [Fact]
    public void A_target_is_added_and_removed_and_the_driver_is_told()
    {
        using var first = new MemoryBdevPort();
        using var second = new MemoryBdevPort("Memory1");
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = first }, requestQueues: 2, reactors: 2).Settle(0);
        var appeared = guest.PostEventBuffer();
        var removed = guest.PostEventBuffer();
        Assert.Equal(BadTarget, guest.Command(5, Read, null, 512).Response);
        Targets(guest).AddTarget(5, second);
        Assert.Equal((TransportReset, ScsiGuest.EventLun(5), 1u), guest.ReceiveEvent(appeared));
        guest.Settle(5);
        second.Data[0] = 0x5A;
        for (var queue = 0; queue < 2; queue++)
        {
            Assert.Equal(0x5A, guest.Command(5, Read, null, 512, queue).Good().DataIn[0]);
        }

        Assert.Equal(2, second.ChannelCount);
        Assert.True(Remove(guest, 5));
        Assert.Equal((TransportReset, ScsiGuest.EventLun(5), 2u), guest.ReceiveEvent(removed));
        Assert.Equal(0, second.ChannelCount);
        Assert.Equal(BadTarget, guest.Command(5, Read, null, 512).Response);
        Assert.False(Remove(guest, 5));
        guest.Command(0, Read, null, 512).Good();

        // Another bdev at the same place: nothing of the first one is left.
        Targets(guest).AddTarget(5, second);
        guest.Settle(5);
        Assert.Equal(0x5A, guest.Command(5, Read, null, 512).Good().DataIn[0]);
    }

    [Fact]
    public void Requests_under_way_end_before_the_removal_does()
    {
        using var first = new MemoryBdevPort();
        using var second = new MemoryBdevPort("Memory1");
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = first, [5] = second }, requestQueues: 2, reactors: 2).Settle(0, 5);
        second.IsDeferring = true;
        var tokens = Enumerable.Range(0, 8).Select(i => guest.Send(Fifth, Read, null, 512, i % 2)).ToArray();
        guest.TurnUntilIdle();
        Assert.Equal(8, second.PendingCount);
        Assert.True(Remove(guest, 5));
        Assert.All(tokens, token => Assert.Equal(Reset, guest.ReceiveAnswer(token).Response));
        Assert.Equal((0, 0), (second.PendingCount, second.ChannelCount));
        guest.Command(0, Read, null, 512).Good();
    }

    [Fact]
    public void A_bdev_that_hangs_delays_the_removal_by_a_bounded_time_and_keeps_the_number()
    {
        using var first = new MemoryBdevPort();
        using var second = new MemoryBdevPort("Memory1");
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = first, [5] = second }).Settle(0, 5);
        (second.IsDeferring, second.IgnoresAbort) = (true, true);
        var token = guest.Send(Fifth, Read, null, 512);
        guest.TurnUntilIdle();
        using var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        Assert.ThrowsAny<OperationCanceledException>(() => guest.Run(Targets(guest).RemoveTargetAsync(5, limit.Token).AsTask()));
        Assert.Equal(BadTarget, guest.Command(5, Read, null, 512).Response);
        Assert.Throws<InvalidOperationException>(() => Targets(guest).AddTarget(5, first));
        guest.Reactors[0].Invoke(() => second.CompletePending());
        // What the bdev did after all is told as it is.
        guest.ReceiveAnswer(token).Good();
        guest.Until(() => second.ChannelCount == 0);
        guest.Until(() =>
        {
            try
            {
                Targets(guest).AddTarget(5, first);
                return true;
            }
            catch (InvalidOperationException)
            {
                return false;
            }
        });
        guest.Settle(5);
    }

    [Fact]
    public void Impossible_changes_are_refused()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        Assert.Equal(256, Targets(guest).TargetCount);
        Assert.Throws<ArgumentException>(() => Targets(guest).AddTarget(0, disk));
        Assert.Throws<ArgumentOutOfRangeException>(() => Targets(guest).AddTarget(256, disk));
        Assert.Throws<ArgumentOutOfRangeException>(() => Targets(guest).AddTarget(-1, disk));
        Assert.False(Remove(guest, 256));
        Assert.False(Remove(guest, -1));
        guest.Command(0, Read, null, 512).Good();
    }
}
