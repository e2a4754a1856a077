using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

public sealed class MemoryTests
{
    [Fact]
    public async Task Memory_is_added_and_removed_while_rings_run()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var session = harness.Device.Session;
        var before = session.Running[0].Addresses;
        var added = memory.Add(1 << 20);
        added.Announce(connection);
        Assert.Equal(3, session.Memory.Regions.Length);
        Assert.Equal(before, session.LastRings[0]);
        Assert.Equal(3, harness.Registry.RegisteredCount);
        added.Withdraw(connection);
        Assert.Equal(2, session.Memory.Regions.Length);
        Assert.Equal(2, harness.Registry.RegisteredCount);
        Assert.Single(session.Events, "start 0");
        Assert.DoesNotContain("stop 0", session.Events);
    }

    [Fact]
    public async Task A_table_keeps_the_mappings_of_regions_that_stay()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory(ProtocolFeatures.ReplyAck);
        using var owned = connection;
        using var ownedMemory = memory;
        var first = harness.Device.Session.Memory;
        memory.Add(1 << 20);
        memory.Announce(connection);
        var second = harness.Device.Session.Memory;
        Assert.Equal(first.Regions, second.Regions.Take(2));
        Assert.Equal(3, harness.Registry.TotalCount);
        Assert.Equal(3, harness.Registry.RegisteredCount);
        memory.Remove(memory.Regions[1]);
        memory.Announce(connection);
        Assert.Equal(2, harness.Registry.RegisteredCount);
    }

    [Fact]
    public async Task A_table_of_other_memory_at_the_same_addresses_replaces_it()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory(ProtocolFeatures.ReplyAck);
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var session = harness.Device.Session;
        var before = session.Running[0].Addresses;
        using var other = new GuestMemory(0, 1 << 20, 1 << 20);
        other.Announce(connection);
        Assert.NotEqual(before.Descriptors, session.LastRings[0].Descriptors);
        Assert.Equal(2, harness.Registry.RegisteredCount);
        Assert.Equal(4, harness.Registry.TotalCount);
    }

    [Fact]
    public async Task A_ring_whose_memory_goes_is_stopped_alone_and_starts_again_when_it_is_back()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var stays = new TestQueue(memory, 0, region: 0);
        using var goes = new TestQueue(memory, 1, region: 1);
        stays.SetUp(connection);
        goes.SetUp(connection);
        var session = harness.Device.Session;
        memory.Regions[1].Withdraw(connection);
        Assert.Equal([0], session.Running.Keys);
        Assert.Contains(harness.Logger.Lines, line => line.Text.Contains("queue 1 is stopped by a change of memory", StringComparison.Ordinal));
        memory.Regions[1].Announce(connection);
        Assert.Equal([0, 1], session.Running.Keys.Order());
        Assert.Empty(harness.Logger.Errors);
    }

    [Fact]
    public async Task Read_only_memory_is_mapped_as_such_and_takes_no_ring()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        using var file = MemoryFile.Create("rom", 1 << 16);
        using var readOnly = FileIo.Open($"/proc/self/fd/{file.Raw}", OpenMode.ReadOnly);
        var payload = new byte[40];
        new RegionDescription(0, 1 << 16, 1 << 20, 0).Write(payload.AsSpan(8));
        connection.Tell(FrontEndRequest.AddMemoryRegion, payload, readOnly.Raw);
        Assert.False(harness.Device.Session.Memory.Regions[0].IsWritable);
        connection.TellVring(FrontEndRequest.SetVringNum, 0, 8);
        connection.TellVring(FrontEndRequest.SetVringEnable, 0, 1);
        TestQueue.TellAddress(connection, new VringAddress(0, 0, 1 << 20, (1 << 20) + 512, (1 << 20) + 256, 0));
        using var kick = EventFd.Create();
        Assert.Throws<FrontEndException>(() => connection.TellNumber(FrontEndRequest.SetVringKick, 0, kick.Raw));
        connection.WaitClosed();
        Assert.Contains("read-only memory", Assert.Single(harness.Logger.Errors), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_region_within_a_page_of_its_file_is_found_at_its_offset()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        using var file = MemoryFile.Create("odd", 1 << 16);
        FileIo.WriteExactly(file.Raw, "needle"u8, 4096 + 512);
        var payload = new byte[40];
        new RegionDescription(0x1000, 5000, 1 << 20, 4096 + 512).Write(payload.AsSpan(8));
        connection.Tell(FrontEndRequest.AddMemoryRegion, payload, file.Raw);
        unsafe
        {
            var address = (byte*)harness.Device.Session.Memory.Regions[0].HostAddress;
            Assert.Equal("needle"u8.ToArray(), new ReadOnlySpan<byte>(address, 6).ToArray());
        }
    }

    [Fact]
    public async Task As_many_regions_as_there_are_slots_and_not_one_more()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        using var file = MemoryFile.Create("many", 4096);
        var payload = new byte[40];
        for (var i = 0UL; i < VhostUserSession.MaxMemorySlots; i++)
        {
            new RegionDescription(i << 20, 4096, i << 20, 0).Write(payload.AsSpan(8));
            connection.Tell(FrontEndRequest.AddMemoryRegion, payload, file.Raw);
        }

        Assert.Equal(VhostUserSession.MaxMemorySlots, harness.Registry.RegisteredCount);
        new RegionDescription(1UL << 40, 4096, 1UL << 40, 0).Write(payload.AsSpan(8));
        Assert.Throws<FrontEndException>(() => connection.Tell(FrontEndRequest.AddMemoryRegion, payload, file.Raw));
        connection.WaitClosed();
        await TransportHarness.WaitForAsync(() => harness.Registry.RegisteredCount == 0, "everything is withdrawn");
    }

    [Fact]
    public async Task Memory_with_users_stays_mapped_counted_and_named()
    {
        await using var harness = await TransportHarness.StartAsync(TimeSpan.FromMilliseconds(200));
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var retained = RetainedMemory.Bytes;
        harness.Device.Hangs = true;
        memory.Regions[1].Withdraw(connection);
        Assert.Equal(retained + (1 << 20), RetainedMemory.Bytes);
        Assert.Equal(2, harness.Registry.RegisteredCount);
        Assert.Contains("1 requests still use 1 MiB", Assert.Single(harness.Logger.Errors), StringComparison.Ordinal);
    }
}
