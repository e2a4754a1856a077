using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

public sealed class LifecycleTests
{
    [Fact]
    public async Task A_front_end_negotiates_and_its_rings_start_and_stop()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        Assert.Equal(4u, connection.AskNumber(FrontEndRequest.GetQueueNum));
        Assert.Equal(509u, connection.AskNumber(FrontEndRequest.GetMaxMemorySlots));
        Assert.StartsWith("connected (pid", harness.Transport.Status);
        Assert.Equal(2, harness.Registry.RegisteredCount);

        using var queue = new TestQueue(memory, 1);
        queue.SetUp(connection);
        var session = harness.Device.Session;
        var setup = session.Running[1];
        Assert.Equal(8, setup.Size);
        Assert.NotEqual(-1, setup.KickFileDescriptor);
        queue.Descriptors.Span[0] = 0x5a;
        unsafe
        {
            Assert.Equal(0x5a, *(byte*)setup.Addresses.Descriptors);
        }

        queue.Call.Drain();
        setup.Call.Notify();
        Assert.Equal(1u, queue.Call.Drain());

        var stopped = TestQueue.Stop(connection, 1);
        Assert.Equal(new VringState(1, 5), stopped);
        Assert.Empty(session.Running);

        connection.Dispose();
        await TransportHarness.WaitForAsync(() => session.IsDisposed, "the session ends");
        await TransportHarness.WaitForAsync(() => harness.Registry.RegisteredCount == 0, "the memory is withdrawn");
        Assert.Empty(harness.Logger.Errors);
    }

    [Fact]
    public async Task Access_platform_is_never_offered()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        var offered = connection.AskNumber(FrontEndRequest.GetFeatures);
        Assert.Equal(0u, offered & VhostUserFeatures.AccessPlatform);
        Assert.NotEqual(0u, offered & VhostUserFeatures.ProtocolFeatures);
    }

    [Fact]
    public async Task Rings_start_whatever_the_order_of_their_messages()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        using var memory = new GuestMemory(0, 1 << 20);
        using var queue = new TestQueue(memory, 0);
        TransportHarness.Negotiate(connection);

        // A size instead of 1 for "enable", before everything else, is what one known client sends.
        connection.TellVring(FrontEndRequest.SetVringEnable, 0, 256);
        connection.TellNumber(FrontEndRequest.SetVringKick, 0, queue.Kick.Raw);
        TestQueue.TellAddress(connection, queue.Address);
        Assert.Empty(harness.Device.Session.Running);
        memory.AnnounceTable(connection);
        Assert.Empty(harness.Device.Session.Running);
        connection.TellVring(FrontEndRequest.SetVringNum, 0, 8);
        Assert.Single(harness.Device.Session.Running);
    }

    [Fact]
    public async Task Without_protocol_features_rings_are_enabled_at_once()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        using var memory = new GuestMemory(0, 1 << 20);
        connection.TellNumber(FrontEndRequest.SetFeatures, VhostUserFeatures.Version1);
        memory.AnnounceTable(connection);
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection, enable: false);
        await TransportHarness.WaitForAsync(() => harness.Device.Sessions.LastOrDefault()?.Running.Count == 1, "the ring runs");
    }

    [Fact]
    public async Task A_ring_without_kick_is_polled()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        connection.TellNumber(FrontEndRequest.SetVringKick, 1 << 8);
        Assert.Equal(-1, harness.Device.Session.Running[0].KickFileDescriptor);
        Assert.Equal(["start 0", "stop 0", "start 0"], harness.Device.Session.Events.Where(e => e.StartsWith("st", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_new_call_descriptor_takes_effect_while_the_ring_runs()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var setup = harness.Device.Session.Running[0];
        using var other = EventFd.Create();
        queue.Call.Drain();
        connection.TellNumber(FrontEndRequest.SetVringCall, 0, other.Raw);
        other.Drain();
        setup.Call.Notify();
        Assert.Equal(0u, queue.Call.Drain());
        Assert.Equal(1u, other.Drain());
        connection.TellNumber(FrontEndRequest.SetVringCall, 1 << 8);
        setup.Call.Notify();
        Assert.Equal(0u, other.Drain());
        Assert.Single(harness.Device.Session.Events, "start 0");
    }

    [Fact]
    public async Task Notifications_survive_a_storm_of_changing_call_descriptors()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        var call = harness.Device.Session.Running[0].Call;
        var stop = 0;
        var notifier = new Thread(() =>
        {
            while (Volatile.Read(ref stop) == 0)
            {
                call.Notify();
            }
        });
        notifier.Start();
        var before = TransportHarness.Descriptors();
        for (var i = 0; i < 500; i++)
        {
            using var target = EventFd.Create();
            connection.TellNumber(FrontEndRequest.SetVringCall, 0, target.Raw);
        }

        Volatile.Write(ref stop, 1);
        notifier.Join();
        Assert.Empty(TransportHarness.Descriptors().Except(before));
        Assert.Empty(harness.Logger.Errors);
    }

    [Fact]
    public async Task Packed_rings_carry_both_positions_in_their_base()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory(isPacked: true);
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 2, size: 12);
        queue.SetUp(connection, enable: false);
        connection.TellVring(FrontEndRequest.SetVringBase, 2, 0x8003_8004);
        connection.TellVring(FrontEndRequest.SetVringEnable, 2, 1);
        var setup = harness.Device.Session.Running[2];
        Assert.Equal(Abstractions.VirtqueueFormat.Packed, setup.Format);
        Assert.Equal(new Abstractions.VirtqueueState(0x8004, 0x8003), setup.State);
        Assert.Equal(new VringState(2, 0x8008_8009), TestQueue.Stop(connection, 2));
    }

    [Fact]
    public async Task A_split_ring_continues_at_its_base_and_at_the_used_index_of_its_memory()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        BitConverter.TryWriteBytes(queue.Used.Span[2..], (ushort)0xfff0);
        queue.SetUp(connection, enable: false);
        connection.TellVring(FrontEndRequest.SetVringBase, 0, 0xfff4);
        connection.TellVring(FrontEndRequest.SetVringEnable, 0, 1);
        Assert.Equal(new Abstractions.VirtqueueState(0xfff4, 0xfff0), harness.Device.Session.Running[0].State);
    }

    [Fact]
    public async Task Configuration_is_read_with_the_length_of_the_request_and_written_where_allowed()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        var request = new byte[ConfigRange.WireBytes + 256];
        new ConfigRange(0, 256, 0).Write(request);
        var reply = connection.Ask(FrontEndRequest.GetConfig, request);
        Assert.Equal(request.Length, reply.Length);
        Assert.Equal(1, reply.Span[12]);
        Assert.Equal(60, reply.Span[12 + 59]);
        Assert.Equal(0, reply.Span[12 + 60]);

        new ConfigRange(250, 7, 0).Write(request);
        Assert.Equal(0, connection.Ask(FrontEndRequest.GetConfig, request).Length);

        var write = new byte[ConfigRange.WireBytes + 1];
        new ConfigRange(32, 1, 0).Write(write);
        write[12] = 0xaa;
        connection.Tell(FrontEndRequest.SetConfig, write);
        new ConfigRange(31, 1, 0).Write(write);
        Assert.Throws<FrontEndException>(() => connection.Tell(FrontEndRequest.SetConfig, write));
        new ConfigRange(0, 256, 0).Write(request);
        Assert.Equal(0xaa, connection.Ask(FrontEndRequest.GetConfig, request).Span[12 + 32]);
    }

    [Fact]
    public async Task A_change_of_configuration_reaches_the_back_end_channel()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        var (ours, theirs) = UnixSocket.CreatePair();
        using var ownedTheirs = theirs;
        using var channel = new MessageSocket(ours);
        harness.Device.Session.FrontEnd.NotifyConfigChanged();
        connection.Tell(FrontEndRequest.SetBackendRequestFd, [], theirs.Raw);
        harness.Device.Session.FrontEnd.NotifyConfigChanged();
        Assert.Equal(MessageReadState.Message, channel.TryRead(out var message));
        Assert.Equal((uint)BackendRequest.ConfigChanged, message!.Header.Request);
        Assert.Equal(MessageReadState.Incomplete, channel.TryRead(out _));

        // Nobody reads: the notices stop at some time, and nothing blocks.
        for (var i = 0; i < 5000; i++)
        {
            harness.Device.Session.FrontEnd.NotifyConfigChanged();
        }

        Assert.Contains(harness.Logger.Lines, line => line.Text.Contains("does not read its back-end channel", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_broken_queue_is_reported_by_its_error_descriptor()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var error = EventFd.Create();
        connection.TellNumber(FrontEndRequest.SetVringError, 3, error.Raw);
        error.Drain();
        harness.Device.Session.FrontEnd.OnQueueBroken(3, "it loops");
        Assert.Equal(1u, error.Drain());
        Assert.Contains(harness.Logger.Lines, line => line.Text.Contains("it loops", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Reset_stops_the_rings_and_forgets_what_was_negotiated()
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        queue.SetUp(connection);
        connection.TellNumber(FrontEndRequest.SetStatus, 0xf);
        Assert.Equal(0xfu, connection.AskNumber(FrontEndRequest.GetStatus));
        connection.TellNumber(FrontEndRequest.SetStatus, 0);
        var session = harness.Device.Session;
        Assert.Empty(session.Running);
        Assert.Contains("reset", session.Events);
        queue.SetUp(connection);
        Assert.Empty(session.Running);
        connection.TellNumber(FrontEndRequest.SetFeatures, VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures);
        Assert.Single(session.Running);
        connection.Tell(FrontEndRequest.ResetDevice, []);
        Assert.Empty(session.Running);
    }

    /// <summary>What QEMU 7.2 does when it stops a guest to pause or to migrate it.</summary>
    [Theory]
    [InlineData(0UL, 5u)]
    [InlineData(VhostUserFeatures.RingPacked, 0x8005_8005u)]
    public async Task A_front_end_that_resets_the_device_before_it_asks_is_told_where_the_rings_stood(ulong format, uint stood)
    {
        await using var harness = await TransportHarness.StartAsync();
        var (connection, memory) = harness.ConnectWithMemory();
        using var owned = connection;
        using var ownedMemory = memory;
        using var queue = new TestQueue(memory, 0);
        connection.TellNumber(FrontEndRequest.SetFeatures, VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures | format);
        queue.SetUp(connection);
        if (format != 0)
        {
            connection.TellVring(FrontEndRequest.SetVringBase, 0, 0x8000_8000);
        }

        Assert.Single(harness.Device.Session.Running);
        connection.TellNumber(FrontEndRequest.SetStatus, 0);
        connection.TellNumber(FrontEndRequest.SetStatus, 0);
        Assert.Equal(stood, TestQueue.Stop(connection, 0).Number);

        // A driver that starts anew after the reset begins where its front-end says, or at the beginning.
        connection.TellNumber(FrontEndRequest.SetFeatures, VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures | format);
        queue.SetUp(connection);
        Assert.Equal(0, harness.Device.Session.Running[0].State.NextAvailable);
        connection.TellVring(FrontEndRequest.SetVringBase, 0, 0);
        Assert.Equal(5u, TestQueue.Stop(connection, 0).Number & 0x7fff);
    }
}
