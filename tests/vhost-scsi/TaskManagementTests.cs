using Vhost.Abstractions;
using Vhost.Plugins.VhostScsi;
using Vhost.Testing;

namespace Vhost.VhostScsi.Tests;

public sealed class TaskManagementTests
{
    private const uint AbortTask = 0;
    private const uint AbortTaskSet = 1;
    private const uint ClearAca = 2;
    private const uint ClearTaskSet = 3;
    private const uint NexusReset = 4;
    private const uint UnitReset = 5;
    private const uint QueryTask = 6;
    private const uint QueryTaskSet = 7;
    private const byte Complete = 0;
    private const byte Succeeded = 10;
    private const byte Rejected = 11;

    private static readonly ulong Unit = ScsiGuest.Lun(0);

    private static ScsiGuest Guest(MemoryBdevPort disk, int queues = 3, int reactors = 2)
    {
        var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }, queues, reactors).Settle(0);
        disk.IsDeferring = true;
        return guest;
    }

    [Fact]
    public void One_task_is_aborted_and_no_other()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var first = guest.Send(Unit, "28 00 00000000 00 0001 00", null, 512, 1);
        var second = guest.Send(Unit, "28 00 00000000 00 0001 00", null, 512, 1);
        Assert.Equal(Complete, guest.Function(AbortTask, Unit, first));
        var answer = guest.ReceiveAnswer(first);
        Assert.Equal((2, 512u), (answer.Response, answer.Residual));
        Assert.False(guest.IsAnswered(second));
        Assert.Equal(1, disk.PendingCount);
        guest.Reactors[1].Invoke(() => disk.CompletePending());
        guest.ReceiveAnswer(second).Good();
    }

    [Fact]
    public void A_task_that_is_still_in_the_ring_does_not_run_after_its_abort()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk, 1, 2);
        var task = guest.Send(Unit, "2A 00 00000000 00 0001 00", new byte[512]);
        var function = guest.SendFunction(AbortTask, Unit, task);

        // Only the control queue's reactor turns until it has asked the others.
        for (var i = 0; i < 10; i++)
        {
            guest.Reactors[0].Turn();
        }

        guest.Until(() => guest.IsAnswered(function));
        Assert.Equal(2, guest.ReceiveAnswer(task).Response);
        Assert.Equal(0, disk.Counts[(int)BlockOperation.Write]);
    }

    [Theory]
    [InlineData(AbortTaskSet, 2)]
    [InlineData(ClearTaskSet, 2)]
    [InlineData(UnitReset, 4)]
    [InlineData(NexusReset, 4)]
    public void All_tasks_on_all_queues_are_aborted(uint function, byte response)
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        var tasks = Enumerable.Range(0, 30).Select(i => guest.Send(Unit, "2A 00 00000000 00 0001 00", new byte[512], 0, i % 3)).ToArray();
        Assert.Equal(Complete, guest.Function(function, Unit));
        Assert.All(tasks, task => Assert.Equal(response, guest.ReceiveAnswer(task).Response));
        Assert.Equal(0, disk.PendingCount);
        Assert.Equal(0, disk.Counts[(int)BlockOperation.Write]);
    }

    [Theory]
    [InlineData(UnitReset, 0x2903)]
    [InlineData(NexusReset, 0x2907)]
    public void Resets_are_told_by_a_unit_attention(uint function, int additional)
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        Assert.Equal(Complete, guest.Function(function, Unit));
        guest.Command(0, "00 00 00 00 00 00").Check(6, additional);
        guest.Command(0, "00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Long_commands_stop_between_their_steps()
    {
        using var disk = new MemoryBdevPort("Disk0", 512, 100_000);
        using var guest = Guest(disk, 1, 1);
        var task = guest.Send(Unit, "8F 00 0000000000000000 00010000 00 00");
        guest.Until(() => disk.PendingCount == 1);
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        Assert.Equal(1, disk.PendingCount);
        Assert.Equal(Complete, guest.Function(AbortTask, Unit, task));
        Assert.Equal(2, guest.ReceiveAnswer(task).Response);
        Assert.Equal(0, disk.PendingCount);
    }

    [Fact]
    public void Tasks_are_found_by_queries()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        Assert.Equal(Complete, guest.Function(QueryTaskSet, Unit));
        var task = guest.Send(Unit, "28 00 00000000 00 0001 00", null, 512, 2);
        Assert.Equal(Succeeded, guest.Function(QueryTask, Unit, task));
        Assert.Equal(Succeeded, guest.Function(QueryTaskSet, Unit));
        Assert.Equal(Complete, guest.Function(QueryTask, Unit, task + 1000));
        Assert.Equal(1, disk.PendingCount);
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        guest.ReceiveAnswer(task).Good();
        Assert.Equal(Complete, guest.Function(AbortTask, Unit, task));
    }

    [Fact]
    public void What_cannot_be_done_is_rejected()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        Assert.Equal(Rejected, guest.Function(ClearAca, Unit));
        Assert.Equal(Rejected, guest.Function(8, Unit));
        Assert.Equal(Rejected, guest.Function(uint.MaxValue, Unit));
        Assert.Equal(3, guest.Function(UnitReset, ScsiGuest.Lun(1)));
        Assert.Equal(3, guest.Function(UnitReset, 0));
        Assert.Equal(12, guest.Function(UnitReset, ScsiGuest.Lun(0, 5)));
        Assert.Equal(Rejected, guest.Receive(guest.SendControl([9, 0, 0, 0, 0], 1), out _)[0]);
        Assert.Equal(Rejected, guest.Receive(guest.SendControl([0, 0], 1), out _)[0]);
        Assert.Equal(Rejected, guest.Receive(guest.SendControl(new byte[23], 1), out _)[0]);
    }

    [Fact]
    public void Asynchronous_events_are_queried_and_there_are_none()
    {
        using var disk = new MemoryBdevPort();
        using var guest = Guest(disk);
        foreach (var type in (byte[])[1, 2])
        {
            Assert.Equal([0, 0, 0, 0, 0], guest.Receive(guest.SendControl([type, 0, 0, 0, .. BitConverter.GetBytes(Unit), 0xFF, 0, 0, 0], 5), out _));
            Assert.Equal([0, 0, 0, 0, 3], guest.Receive(guest.SendControl([type, 0, 0, 0, .. BitConverter.GetBytes(ScsiGuest.Lun(1)), 0xFF, 0, 0, 0], 5), out _));
        }
    }

    [Fact]
    public void A_bdev_that_gives_nothing_back_delays_the_answer_by_a_bounded_time()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        disk.IsDeferring = true;
        disk.IgnoresAbort = true;
        var task = guest.Send(Unit, "28 00 00000000 00 0001 00", null, 512);
        var begin = Environment.TickCount64;
        Assert.Equal(Rejected, guest.Function(AbortTask, Unit, task));
        TestContext.Current.TestOutputHelper?.WriteLine($"answered after {Environment.TickCount64 - begin} ms");
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        guest.ReceiveAnswer(task).Good();
    }

    [Fact]
    public void Stopping_answers_functions_that_wait()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        disk.IsDeferring = true;
        disk.IgnoresAbort = true;
        guest.Send(Unit, "28 00 00000000 00 0001 00", null, 512);
        var function = guest.SendFunction(AbortTaskSet, Unit);
        guest.TurnUntilIdle();
        Assert.False(guest.IsAnswered(function));
        Assert.Equal(0, guest.Stop(guest.Queues[0]).AbandonedRequestCount);
        Assert.Equal(Rejected, guest.Receive(function, out _)[0]);
        guest.Reactors[0].Invoke(() => disk.CompletePending());
        guest.TurnUntilIdle();
    }

    [Fact]
    public void A_reset_of_one_controller_leaves_the_other_alone()
    {
        using var disk = new MemoryBdevPort();
        var factory = new VhostScsiFactory();
        var targets = new Dictionary<byte, MemoryBdevPort> { [0] = disk };
        using var one = new ScsiGuest(targets, factory: factory, name: "vhost.0").Settle(0);
        using var two = new ScsiGuest(targets, factory: factory, name: "vhost.1", shared: one.Reactors).Settle(0);
        disk.IsDeferring = true;
        var task = two.Send(Unit, "28 00 00000000 00 0001 00", null, 512);
        two.Until(() => disk.PendingCount == 1);

        one.Session.ResetDevice();
        one.Settle(0);
        Assert.Equal(1, disk.PendingCount);

        // A logical unit reset concerns all initiators (SAM-5): the other one is told, and its tasks complete.
        Assert.Equal(Complete, one.Function(UnitReset, Unit));
        Assert.Equal(1, disk.PendingCount);
        one.Reactors[0].Invoke(() => disk.CompletePending());
        two.ReceiveAnswer(task).Good();
        two.Command(0, "00 00 00 00 00 00").Check(6, 0x2903);
        two.Command(0, "00 00 00 00 00 00").Good();
    }

    [Fact]
    public void Preempt_and_abort_waits_for_the_end_of_the_others_tasks()
    {
        using var disk = new MemoryBdevPort();
        var factory = new VhostScsiFactory();
        var targets = new Dictionary<byte, MemoryBdevPort> { [0] = disk };
        using var one = new ScsiGuest(targets, factory: factory, name: "vhost.0").Settle(0);
        using var two = new ScsiGuest(targets, factory: factory, name: "vhost.1", shared: one.Reactors).Settle(0);
        one.Command(0, "5F 06 00 00 00 00000018 00", KeyList(0, 0xA)).Good();
        two.Command(0, "5F 06 00 00 00 00000018 00", KeyList(0, 0xB)).Good();
        one.Command(0, "5F 01 05 00 00 00000018 00", KeyList(0xA, 0)).Good();

        // The first one hangs with a write on its way; the second one takes over.
        disk.IsDeferring = true;
        disk.IgnoresAbort = true;
        var write = one.Send(Unit, "2A 00 00000000 00 0001 00", new byte[512]);
        one.Until(() => disk.PendingCount == 1);
        var preempt = two.Send(Unit, "5F 05 05 00 00 00000018 00", KeyList(0xB, 0xA));
        two.TurnUntilIdle();
        Assert.False(two.IsAnswered(preempt));
        one.Reactors[0].Invoke(() => disk.CompletePending());
        two.ReceiveAnswer(preempt).Good();
        Assert.True(one.IsAnswered(write));

        one.Command(0, "00 00 00 00 00 00").Check(6, 0x2A05);
        Assert.Equal(0x18, one.Command(0, "2A 00 00000000 00 0001 00", new byte[512]).Status);

        // A command that waits can be aborted itself.
        disk.IsDeferring = false;
        one.Command(0, "5F 06 00 00 00 00000018 00", KeyList(0, 0xA)).Good();
        disk.IsDeferring = true;
        var read = one.Send(Unit, "28 00 00000000 00 0001 00", null, 512);
        one.Until(() => disk.PendingCount == 1);
        preempt = two.Send(Unit, "5F 05 05 00 00 00000018 00", KeyList(0xB, 0xA));
        two.TurnUntilIdle();
        Assert.Equal(Complete, two.Function(AbortTask, Unit, preempt));
        Assert.Equal(2, two.ReceiveAnswer(preempt).Response);
        one.Reactors[0].Invoke(() => disk.CompletePending());
        one.ReceiveAnswer(read).Good();
        two.TurnUntilIdle();
    }

    private static byte[] KeyList(byte key, byte actionKey)
    {
        var list = new byte[24];
        list[7] = key;
        list[15] = actionKey;
        return list;
    }
}
