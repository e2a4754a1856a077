using System.Buffers.Binary;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

/// <summary>EXTENDED COPY between the targets of a controller, and what ends it.</summary>
public sealed class CopyTests : IDisposable
{
    private const uint AbortTask = 0;
    private const uint NexusReset = 4;
    private const uint UnitReset = 5;
    private const byte Complete = 0;
    private const int CopyAborted = 0xA;

    private readonly MemoryBdevPort _first = new("Memory0");
    private readonly MemoryBdevPort _second = new("Memory1");
    private readonly ScsiGuest _guest;

    public CopyTests()
    {
        _guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = _first, [5] = _second }, requestQueues: 2, reactors: 2).Settle(0, 5);
        new Random(1).NextBytes(_first.Data);
    }

    public void Dispose()
    {
        _guest.Dispose();
        _first.Dispose();
        _second.Dispose();
    }

    private static string Cdb(byte[] list) => $"83 00 0000000000000000 {list.Length:X8} 00 00";

    private byte[] Descriptor(byte target)
    {
        var page = _guest.Command(target, "12 01 83 00 FF 00", null, 255).Good().DataIn;
        var descriptor = new byte[32];
        descriptor[0] = 0xE4;
        page[4..(8 + page[7])].CopyTo(descriptor, 4);
        BinaryPrimitives.WriteUInt32BigEndian(descriptor.AsSpan(28), 512);
        return descriptor;
    }

    private byte[] List(byte listId = 1, ushort count = 2000)
    {
        byte[] segment = [0x02, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, (byte)(count >> 8), (byte)count, .. new byte[16]];
        byte[] header = [listId, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
        return [.. header, .. Descriptor(0), .. Descriptor(5), .. segment];
    }

    // A copy whose write at the second target waits.
    private ulong Begin(int queue)
    {
        var list = List();
        _second.IsDeferring = true;
        var copy = _guest.Send(ScsiGuest.Lun(0), Cdb(list), list, 0, queue);
        _guest.TurnUntilIdle();
        Assert.Equal(1, _second.PendingCount);
        return copy;
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Blocks_go_from_one_target_to_another_and_other_commands_go_on(int queue)
    {
        var list = List();
        var copy = Begin(queue);
        _guest.Command(0, "28 00 00000000 00 0001 00", null, 512, queue).Good();
        var status = _guest.Command(0, "84 00 01 00 000000000000 00000100 00 00", null, 256, 1 - queue).Good();
        Assert.Equal(0, status.DataIn[4]);
        for (var steps = 0; !_guest.IsAnswered(copy); steps++)
        {
            Assert.True(steps < 100);
            _guest.Reactors[queue].Invoke(() => _second.CompletePending());
            _guest.TurnUntilIdle();
        }

        var answer = _guest.ReceiveAnswer(copy).Good();
        Assert.Equal(0u, answer.Residual);
        Assert.Equal(_first.Data[..(2000 * 512)].ToArray(), _second.Data[..(2000 * 512)].ToArray());
        _second.IsDeferring = false;
        status = _guest.Command(0, "84 00 01 00 000000000000 00000100 00 00", null, 256).Good();
        Assert.Equal(1, status.DataIn[4]);
        _guest.Command(5, "84 00 01 00 000000000000 00000100 00 00", null, 256).Check(5, 0x2400); // another nexus
        _guest.Command(0, Cdb(list), list, 0, queue).Good();
    }

    [Theory]
    [InlineData(AbortTask, 0, 2)]
    [InlineData(UnitReset, 0, 4)]
    [InlineData(UnitReset, 5, 4)]
    [InlineData(NexusReset, 5, 4)]
    public void It_is_aborted_from_either_end(uint function, int target, byte response)
    {
        var copy = Begin(1);
        Assert.Equal(Complete, _guest.Function(function, ScsiGuest.Lun((byte)target), copy));
        Assert.Equal(response, _guest.ReceiveAnswer(copy).Response);
        Assert.Equal(0, _second.PendingCount);
        _second.IsDeferring = false;
        Assert.Equal(0, _second.Data[0]);
    }

    [Fact]
    public void The_abort_of_a_task_elsewhere_leaves_it_alone()
    {
        var copy = Begin(1);
        var read = _guest.Send(ScsiGuest.Lun(5), "28 00 00000000 00 0001 00", null, 512, 1);
        _guest.TurnUntilIdle();
        Assert.Equal(Complete, _guest.Function(AbortTask, ScsiGuest.Lun(5), read));
        Assert.False(_guest.IsAnswered(copy));
        Assert.Equal(1, _second.PendingCount);
    }

    [Fact]
    public void A_target_that_is_removed_ends_the_copies_to_it_first()
    {
        var copy = Begin(0);
        Assert.True(_guest.Run(((ITargetDevice)_guest.Device).RemoveTargetAsync(5, TestContext.Current.CancellationToken).AsTask()));
        Assert.Equal(4, _guest.ReceiveAnswer(copy).Response);
        Assert.Equal((0, 0), (_second.PendingCount, _second.ChannelCount));
    }

    [Fact]
    public void A_target_that_is_removed_between_two_steps_is_not_reachable()
    {
        var list = List();
        _first.IsDeferring = true;
        var copy = _guest.Send(ScsiGuest.Lun(0), Cdb(list), list, 0, 1);
        _guest.TurnUntilIdle();
        Assert.Equal(1, _first.PendingCount); // it reads: nothing of it is at the second target
        Assert.True(_guest.Run(((ITargetDevice)_guest.Device).RemoveTargetAsync(5, TestContext.Current.CancellationToken).AsTask()));
        _guest.Reactors[1].Invoke(() => _first.CompletePending());
        var answer = _guest.ReceiveAnswer(copy).Check(CopyAborted, 0x0D02);
        Assert.Equal(16 + 32, (answer.Sense[16] << 8) | answer.Sense[17]);
        Assert.Equal(0, _second.Counts[(int)BlockOperation.Write]);
    }

    [Fact]
    public void A_stop_of_the_queue_waits_for_it()
    {
        var copy = Begin(1);
        var stop = _guest.Session.StopQueueAsync(3, TestContext.Current.CancellationToken).AsTask();
        _guest.Until(() =>
        {
            _guest.Reactors[1].Invoke(() => _second.CompletePending());
            return stop.IsCompleted;
        });

        _guest.ReceiveAnswer(copy).Good();
        Assert.Equal(_first.Data[..(2000 * 512)].ToArray(), _second.Data[..(2000 * 512)].ToArray());
    }
}
