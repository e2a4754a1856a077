using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

public sealed unsafe class SessionTests
{
    [Fact]
    public void The_client_learns_what_the_device_is()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        Assert.True(client.Device is { IsPci: true, CanReset: true, RegionCount: 9, IrqCount: 5 });
        Assert.True(client.Server.WriteMultiple);
        Assert.Equal(new VfioUserIrq(8, VfioUserIrqFlags.EventFd | VfioUserIrqFlags.NoResize), client.GetIrq(VfioUserIrqs.Msix));
        using VfioUserClientRegion bar = client.GetRegion(0);
        Assert.Equal(65536UL, bar.Size);
        Assert.Equal([new VfioUserArea(4096, 4096)], bar.Areas);
        using VfioUserClientRegion none = client.GetRegion(1);
        Assert.Equal(0UL, none.Size);
        using VfioUserClientRegion rom = client.GetRegion(VfioUserRegions.Rom);
        Assert.False(rom.IsWritable);
        Assert.Equal(Errno.EINVAL, Assert.Throws<VfioUserException>(() => client.GetRegion(9)).Error);
    }

    [Fact]
    public void Registers_are_trapped_and_memory_is_shared()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        client.WriteRegion(0, 16, [1, 2, 3, 4]);
        Assert.Equal([1, 2, 3, 4], harness.Device.Registers[16..20]);
        byte[] read = new byte[4];
        client.ReadRegion(0, 16, read);
        Assert.Equal([1, 2, 3, 4], read);

        using VfioUserClientRegion bar = client.GetRegion(0);
        using MemoryMapping? memory = bar.TryMap(4096, 4096);
        Assert.NotNull(memory);
        memory.Address[5] = 0x77;
        Assert.Equal(0x77, harness.Device.Memory.Address[5]);
        Assert.Null(bar.TryMap(0, 4096));
        Assert.Null(bar.TryMap(4096, 8192));
    }

    [Fact]
    public void A_region_may_begin_before_its_file()
    {
        using var harness = new Harness();
        harness.Device.MapOffset = unchecked(0UL - 4096);
        using VfioUserClient client = harness.Connect();
        using VfioUserClientRegion bar = client.GetRegion(0);
        using MemoryMapping? memory = bar.TryMap(4096, 4096);
        Assert.NotNull(memory);
        harness.Device.Memory.Address[0] = 1; // page 1 of the file, which is page 2 of this region
        Assert.Equal(0, memory.Address[0]);
        harness.Device.MapOffset = 1 << 20;
        using VfioUserClientRegion beyond = client.GetRegion(0);
        Assert.Null(beyond.TryMap(4096, 4096));
    }

    [Fact]
    public void Several_writes_go_in_one_message_in_order()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        client.WriteRegions([(0, 16, 4, 1), (0, 16, 4, 2), (0, 32, 8, 0x1122334455667788), (7, 4, 2, 6)]);
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(harness.Device.Registers.AsSpan(16)));
        Assert.Equal(0x1122334455667788u, BinaryPrimitives.ReadUInt64LittleEndian(harness.Device.Registers.AsSpan(32)));
        Assert.Equal(6, harness.Device.Config[4]);
        Assert.Throws<VfioUserException>(() => client.WriteRegions([(0, 16, 4, 9), (0, 65535, 4, 1)]));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(harness.Device.Registers.AsSpan(16)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_device_reads_and_writes_the_clients_memory_and_interrupts(bool mapped)
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        using MemoryFile file = MemoryFile.Create("guest", 16384);
        using MemoryMapping memory = MemoryMapping.MapShared(file.Raw, 0, 16384);
        client.MapDma(new VfioUserClientDma(0x100000, 8192, mapped ? file.Raw : -1, 4096, (nint)(memory.Address + 4096)));
        harness.Device.Expect("mapped 100000+2000");
        Assert.Equal(mapped, harness.Device.Session!.Dma.TryTranslate(0x100000, 8192, true, out _));

        using EventFd irq = EventFd.Create();
        using EventFd other = EventFd.Create();
        client.SetIrqEventFds(VfioUserIrqs.Msix, 0, [other.Raw, irq.Raw]);
        for (int i = 0; i < 16; i++)
        {
            memory.Address[4096 + 512 + i] = (byte)i;
        }

        byte[] iova = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(iova, 0x100200);
        client.WriteRegion(0, 8, iova);
        Assert.True(Poll.WaitReadable(irq.Raw, 60_000));
        Assert.Equal(1UL, irq.Drain());
        Assert.Equal(0UL, other.Drain());
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i), new Span<byte>(memory.Address + 4096 + 512, 16).ToArray());

        client.UnmapDma(0x100000, 8192);
        harness.Device.Expect("unmapped 100000+2000");
        Assert.Equal(Errno.EFAULT, Assert.Throws<VfioUserException>(() => client.WriteRegion(0, 8, iova)).Error);
        client.Reset();
        harness.Device.Expect("reset");
    }

    [Fact]
    public void A_level_interrupt_masks_itself_and_comes_again_after_unmasking()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        using EventFd irq = EventFd.Create();
        client.SetIrqEventFds(VfioUserIrqs.Intx, 0, [irq.Raw]);
        VfioUserInterrupts interrupts = harness.Device.Session!.Interrupts;
        interrupts.SetLevel(VfioUserIrqs.Intx, 0, true);
        interrupts.SetLevel(VfioUserIrqs.Intx, 0, true);
        Assert.Equal(1UL, irq.Drain());
        client.SetIrqMasked(VfioUserIrqs.Intx, 0, false);
        Assert.Equal(1UL, irq.Drain());
        interrupts.SetLevel(VfioUserIrqs.Intx, 0, false);
        client.SetIrqMasked(VfioUserIrqs.Intx, 0, false);
        Assert.Equal(0UL, irq.Drain());
        client.DisableIrqs(VfioUserIrqs.Intx);
        Assert.False(interrupts.IsConnected(VfioUserIrqs.Intx, 0));
        interrupts.SetLevel(VfioUserIrqs.Intx, 0, true);
        Assert.Equal(0UL, irq.Drain());
        client.SetIrqEventFds(VfioUserIrqs.Intx, 0, [irq.Raw]);
        Assert.Equal(1UL, irq.Drain());
    }

    [Fact]
    public void A_client_can_trigger_and_mask_message_interrupts()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        using EventFd irq = EventFd.Create();
        client.SetIrqEventFds(VfioUserIrqs.Msix, 3, [irq.Raw]);
        client.TriggerIrq(VfioUserIrqs.Msix, 3);
        Assert.Equal(1UL, irq.Drain());
        client.SetIrqMasked(VfioUserIrqs.Msix, 3, true);
        harness.Device.Session!.Interrupts.Trigger(VfioUserIrqs.Msix, 3);
        harness.Device.Session.Interrupts.Trigger(VfioUserIrqs.Msix, 3);
        Assert.Equal(0UL, irq.Drain());
        client.SetIrqMasked(VfioUserIrqs.Msix, 3, false);
        Assert.Equal(1UL, irq.Drain());
        Assert.Throws<VfioUserException>(() => client.TriggerIrq(VfioUserIrqs.Msix, 8));
    }

    [Fact]
    public void Io_eventfds_reach_the_device()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        VfioUserClientIoEventFd doorbell = Assert.Single(client.GetRegionIoEventFds(0));
        using FileDescriptor fd = doorbell.Fd;
        Assert.Equal((4UL, 4UL, 7UL), (doorbell.Offset, doorbell.Size, doorbell.DataMatch));
        Assert.True(EventFd.SignalRaw(fd.Raw));
        Assert.Equal(1UL, harness.Device.Doorbell.Drain());
        Assert.Empty(client.GetRegionIoEventFds(7));
    }

    [Fact]
    public void The_next_client_is_served_after_the_first_and_finds_no_memory_of_it()
    {
        using var harness = new Harness();
        using MemoryFile file = MemoryFile.Create("guest", 4096);
        using (VfioUserClient first = harness.Connect())
        {
            first.MapDma(new VfioUserClientDma(0, 4096, file.Raw, 0, 0));
            harness.Device.Expect("mapped 0+1000");
        }

        harness.Device.Expect("disconnected");
        harness.Device.Expect("unmapped 0+1000");
        using VfioUserClient second = harness.Connect();
        Assert.Empty(harness.Device.Session!.Dma.Regions);
    }

    [Fact]
    public void The_clients_token_tells_that_the_server_has_gone()
    {
        var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        using var gone = new ManualResetEventSlim();
        using CancellationTokenRegistration registration = client.Disconnected.Register(gone.Set);
        harness.Dispose();
        Assert.True(gone.Wait(60_000, TestContext.Current.CancellationToken));
        Assert.NotNull(client.DisconnectReason);
        Assert.Throws<VfioUserException>(() => client.WriteRegion(0, 16, [1]));
    }

    [Fact]
    public void A_fault_of_the_device_is_an_error_to_the_client_and_nothing_more()
    {
        using var harness = new Harness();
        using VfioUserClient client = harness.Connect();
        Assert.Equal(Errno.EIO, Assert.Throws<VfioUserException>(() => client.WriteRegion(0, 24, [1])).Error);
        Assert.Contains(harness.Reports, r => r.Contains("the device's own fault", StringComparison.Ordinal));
        client.WriteRegion(0, 16, [1]);
    }

    [Fact]
    public void A_server_that_never_answers_is_given_up_in_time()
    {
        string directory = Directory.CreateTempSubdirectory("vhost-").FullName;
        string path = Path.Combine(directory, "mute.sock");
        using (UnixSocket listener = UnixSocket.Create())
        {
            listener.BindAndListen(path);
            VfioUserException e = Assert.Throws<VfioUserException>(() => VfioUserClient.Connect(path, 100));
            Assert.Equal(Errno.ETIMEDOUT, e.Error);
        }

        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void A_socket_file_that_nobody_listens_on_is_replaced_and_a_live_one_is_not()
    {
        using var harness = new Harness();
        using var device = new TestDevice();
        Assert.Equal(Errno.EADDRINUSE, Assert.Throws<LinuxException>(() => new VfioUserServer(harness.Path, device)).Error);
        string stale = harness.Path + "2";
        using (UnixSocket dead = UnixSocket.Create())
        {
            dead.BindAndListen(stale);
        }

        using var server = new VfioUserServer(stale, device);
        using VfioUserClient client = VfioUserClient.Connect(stale);
        Assert.Null(client.DisconnectReason);
    }
}
