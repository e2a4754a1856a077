using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Plugins.VhostUserTransport;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>In-flight areas and dirty logs, over a link that offers them.</summary>
public sealed class TrackingTests
{
    [Theory]
    [InlineData(false, 256, 4096 + 64)]
    [InlineData(true, 256, 8192 + 64)]
    [InlineData(false, 8, 192)]
    public async Task An_in_flight_area_is_created_handed_back_and_given_to_the_queues(bool isPacked, ushort queueSize, int stride)
    {
        await using var fixture = new Fixture();
        using var connection = fixture.Connection;
        var serving = fixture.ServeAsync();
        await Task.Run(
            () =>
            {
                TransportHarness.Negotiate(connection, isPacked: isPacked);
                var request = new byte[24];
                new SharedAreaDescription(0, 0, 3, queueSize).WriteInFlight(request);
                var reply = connection.Ask(FrontEndRequest.GetInFlightFd, request, out var area);
                using var owned = area;
                var description = SharedAreaDescription.ReadInFlight(reply.Span);
                Assert.Equal(request.Length, reply.Length);
                Assert.Equal((ulong)stride * 3, description.LengthBytes);
                Assert.Equal(description.LengthBytes, FileStatus.Of(area.Raw).Size);
                FileIo.WriteExactly(area.Raw, "crashed"u8, (ulong)stride);
                connection.Tell(FrontEndRequest.SetInFlightFd, reply.Span, area.Raw);

                using var memory = new GuestMemory(0, 1 << 20);
                memory.Announce(connection);
                using var queue = new TestQueue(memory, 1);
                queue.SetUp(connection);
                var setup = fixture.Device.Session.Running[1];
                Assert.Equal((ulong)stride, setup.InFlight.LengthBytes);
                unsafe
                {
                    Assert.Equal("crashed"u8.ToArray(), new ReadOnlySpan<byte>((void*)setup.InFlight.Address, 7).ToArray());
                }

                Assert.True(setup.DirtyLog.IsNone);

                // The area has no place for the last queue: the session ends.
                using var beyond = new TestQueue(memory, 3);
                Assert.Throws<FrontEndException>(() => beyond.SetUp(connection));
            },
            TestContext.Current.CancellationToken);
        Assert.Contains("no place in an in-flight area", (await Assert.ThrowsAsync<VhostUserException>(() => serving)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_in_flight_area_that_is_too_short_ends_the_session()
    {
        await using var fixture = new Fixture();
        using var connection = fixture.Connection;
        var serving = fixture.ServeAsync();
        await Task.Run(
            () =>
            {
                TransportHarness.Negotiate(connection);
                using var file = MemoryFile.Create("short", 1 << 16);
                var payload = new byte[SharedAreaDescription.InFlightWireBytes];
                new SharedAreaDescription(4096, 0, 4, 256).WriteInFlight(payload);
                Assert.Throws<FrontEndException>(() => connection.Tell(FrontEndRequest.SetInFlightFd, payload, file.Raw));
            },
            TestContext.Current.CancellationToken);
        Assert.Contains("need 16640", (await Assert.ThrowsAsync<VhostUserException>(() => serving)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dirty_log_reaches_the_queues_while_logging_is_on()
    {
        await using var fixture = new Fixture();
        using var connection = fixture.Connection;
        var serving = fixture.ServeAsync();
        await Task.Run(
            () =>
            {
                TransportHarness.Negotiate(connection);
                using var memory = new GuestMemory(0, 1 << 20);
                memory.Announce(connection);
                using var queue = new TestQueue(memory, 0);
                queue.SetUp(connection);
                var session = fixture.Device.Session;
                Assert.True(session.Running[0].DirtyLog.IsNone);

                using var log = MemoryFile.Create("log", 1 << 16);
                var payload = new byte[SharedAreaDescription.LogWireBytes];
                new SharedAreaDescription(4096, 8192).WriteLog(payload);
                Assert.Equal(sizeof(ulong), connection.Ask(FrontEndRequest.SetLogBase, payload, log.Raw).Length);

                // The reply precedes the restart of the rings; what is acknowledged next comes after it.
                connection.Tell(FrontEndRequest.SetOwner, []);
                Assert.True(session.Running[0].DirtyLog.IsNone);
                const ulong Features = VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures;
                connection.TellNumber(FrontEndRequest.SetFeatures, Features | VhostUserFeatures.LogAll);
                TestQueue.TellAddress(connection, queue.Address with { Flags = VringAddress.LogFlag, Log = 0x4000 });
                var setup = session.Running[0];
                Assert.Equal(4096u, setup.DirtyLog.LengthBytes);
                Assert.Equal(0x4000u, setup.Addresses.UsedLogGuestAddress);
                Assert.Equal(VhostUserFeatures.Version1, session.Features);
                unsafe
                {
                    *(byte*)setup.DirtyLog.Address = 0x5a;
                }

                var read = new byte[1];
                FileIo.ReadExactly(log.Raw, read, 8192);
                Assert.Equal(0x5a, read[0]);

                connection.TellNumber(FrontEndRequest.SetFeatures, Features);
                Assert.True(session.Running[0].DirtyLog.IsNone);
            },
            TestContext.Current.CancellationToken);
        connection.Dispose();
        await serving;
    }

    /// <summary>The length of the log for 1 MiB of memory at 0, of which 32 pages take 4 bytes; where a used ring is said to lie; and memory that comes later.</summary>
    [Theory]
    [InlineData(32, 0x4000, 0, true)]
    [InlineData(31, 0x4000, 0, false)]
    [InlineData(28, 0, 0, false)]
    [InlineData(32, 0x10_0000, 0, false)]
    [InlineData(36, 0x10_0000, 0, true)]
    [InlineData(32, 0, 0x10_0000, false)]
    [InlineData(64, 0, 0x10_0000, true)]
    public async Task A_dirty_log_that_has_no_bit_for_some_memory_ends_the_session(int logBytes, int usedRing, int added, bool isGood)
    {
        await using var fixture = new Fixture();
        using var connection = fixture.Connection;
        var serving = fixture.ServeAsync();
        await Task.Run(
            () =>
            {
                TransportHarness.Negotiate(connection);
                using var memory = new GuestMemory(0, 1 << 20);
                memory.Announce(connection);
                using var queue = new TestQueue(memory, 0);
                using var log = MemoryFile.Create("log", 4096);
                using var more = MemoryFile.Create("more", 1 << 20);
                try
                {
                    var payload = new byte[SharedAreaDescription.LogWireBytes];
                    new SharedAreaDescription((ulong)logBytes, 0).WriteLog(payload);
                    connection.Ask(FrontEndRequest.SetLogBase, payload, log.Raw);
                    connection.TellNumber(FrontEndRequest.SetFeatures, VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures | VhostUserFeatures.LogAll);
                    queue.SetUp(connection, enable: false);
                    TestQueue.TellAddress(connection, queue.Address with { Flags = VringAddress.LogFlag, Log = (ulong)usedRing });
                    connection.TellVring(FrontEndRequest.SetVringEnable, 0, 1);
                    if (added != 0)
                    {
                        var region = new byte[RegionDescription.PrefixBytes + RegionDescription.WireBytes];
                        new RegionDescription((ulong)added, 1 << 20, 0x7000_0000_0000, 0).Write(region.AsSpan(RegionDescription.PrefixBytes));
                        connection.Tell(FrontEndRequest.AddMemoryRegion, region, more.Raw);
                    }

                    Assert.True(isGood);
                }
                catch (FrontEndException)
                {
                    Assert.False(isGood);
                }
            },
            TestContext.Current.CancellationToken);
        connection.Dispose();
        if (isGood)
        {
            await serving;
        }
        else
        {
            Assert.Contains("the dirty log has", (await Assert.ThrowsAsync<VhostUserException>(() => serving)).Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public async Task Requests_that_a_lost_session_had_are_done_by_the_next(VirtqueueFormat format)
    {
        await using var server = await BlkServer.StartAsync();
        using var memory = new GuestMemory(0, 4 << 20);
        var options = new FrontEndOptions { Format = format, Features = 0, IndirectEntries = 0, ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue };
        using var device = FrontEndDevice.Connect(server.Harness.Socket, memory, options);
        var requests = new VirtioBlkRequests(device, 8, 4096);
        var queue = device.RequestQueue(0);
        var payload = new byte[24];
        new SharedAreaDescription(0, 0, 1, 256).WriteInFlight(payload);
        var reply = device.Connection.Ask(FrontEndRequest.GetInFlightFd, payload, out var area).ToArray();
        using var owned = area;
        device.Connection.Tell(FrontEndRequest.SetInFlightFd, reply, area.Raw);
        for (var i = 0; i < 5; i++)
        {
            Assert.True(requests.Execute(queue, 0, isWrite: false, 0, 4096));
        }

        server.Port.Data[..(64 << 10)].Fill(0x33);
        server.Port.IsDeferring = true;
        for (var slot = 1; slot < 5; slot++)
        {
            requests.Data(slot).Span.Clear();
            Assert.True(requests.TryAdd(queue.Ring, slot, isWrite: false, (ulong)slot * 8, 4096));
        }

        queue.Publish();
        await TransportHarness.WaitForAsync(() => server.Port.PendingCount == 4, "the bdev has the requests");
        server.Port.IsDeferring = false;

        // A fifth overtakes them, so that the used index alone would name the wrong ones as done.
        Assert.True(requests.Execute(queue, 5, isWrite: false, 0, 4096));

        // The link breaks with four requests under way; a front-end knows the used index only.
        device.Connection.Dispose();
        await TransportHarness.WaitForAsync(() => server.Harness.Transport.Status == "listening", "the session ends");
        using var next = server.Harness.Connect();
        var features = next.AskNumber(FrontEndRequest.GetFeatures);
        next.NegotiateProtocol((ProtocolFeatures)ulong.MaxValue);
        next.TellNumber(
            FrontEndRequest.SetFeatures,
            features & (VhostUserFeatures.Version1 | VhostUserFeatures.ProtocolFeatures | (format == VirtqueueFormat.Packed ? VhostUserFeatures.RingPacked : 0)));
        memory.Announce(next);
        next.Tell(FrontEndRequest.SetInFlightFd, reply, area.Raw);
        queue.Start(next, format == VirtqueueFormat.Packed ? 0x8000_8000 + (18 * 0x1_0001u) : 6);
        var done = new List<int>();
        for (var i = 1; i < 5; i++)
        {
            done.Add(BlockRequests.Complete(queue));
        }

        Assert.Equal([1, 2, 3, 4], done.Order());
        for (var slot = 1; slot < 5; slot++)
        {
            Assert.True(requests.IsSuccess(slot));
            Assert.Equal(-1, requests.Data(slot).Span.IndexOfAnyExcept((byte)0x33));
        }

        Assert.True(requests.Execute(queue, 0, isWrite: false, 0, 4096));
    }

    /// <summary>A session that is fed from a socket by hand.</summary>
    private sealed class Fixture : IAsyncDisposable
    {
        private readonly MessageSocket _messages;
        private readonly EventFd _faulted = EventFd.Create();
        private readonly VhostUserSession _session;

        public Fixture()
        {
            var (near, far) = UnixSocket.CreatePair();
            Connection = new FrontEndConnection(near);
            _messages = new MessageSocket(far);
            _session = new VhostUserSession(Device, new OfferingLink(new SocketLink(_messages, _faulted)), new VhostUserSessionOptions
            {
                Name = "guest", Memory = Registry, Logger = new RecordingLogger(), DrainTimeout = TimeSpan.FromSeconds(3),
            });
        }

        public FrontEndConnection Connection { get; }

        public FakeDevice Device { get; } = new();

        public RecordingRegistry Registry { get; } = new();

        public Task ServeAsync() => Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    switch (_messages.TryRead(out var message))
                    {
                        case MessageReadState.Message:
                            await _session.HandleAsync(message!, CancellationToken.None);
                            break;
                        case MessageReadState.Closed:
                            return;
                        default:
                            Assert.NotEqual(WaitResult.TimedOut, _messages.Socket.WaitReadable(60_000));
                            break;
                    }
                }
            }
            finally
            {
                await _session.EndAsync(CancellationToken.None);
                _messages.Dispose();
            }
        });

        public async ValueTask DisposeAsync()
        {
            await _session.DisposeAsync();
            _messages.Dispose();
            _faulted.Dispose();
            Connection.Dispose();
            Assert.Equal(0, Registry.RegisteredCount);
        }
    }

    /// <summary>Offers everything.</summary>
    private sealed class OfferingLink(IVhostUserLink link) : IVhostUserLink
    {
        public bool CarriesDescriptors => link.CarriesDescriptors;

        public ProtocolFeatures ProtocolFeatures => (ProtocolFeatures)ulong.MaxValue;

        public void SendReply(MessageHeader header, ReadOnlySpan<byte> payload, FileDescriptor? descriptor) => link.SendReply(header, payload, descriptor);

        public IMappedRegion MapRegion(in RegionDescription description, FileDescriptor? descriptor) => link.MapRegion(description, descriptor);

        public IQueueKick OpenKick(int queueIndex, FileDescriptor? descriptor) => link.OpenKick(queueIndex, descriptor);

        public IQueueCall CreateCall(int queueIndex) => link.CreateCall(queueIndex);

        public ISharedMemory MapShared(in SharedAreaDescription description, FileDescriptor? descriptor, string purpose) =>
            link.MapShared(description, descriptor, purpose);

        public ISharedMemory CreateShared(ulong lengthBytes, string purpose) => link.CreateShared(lengthBytes, purpose);

        public IBackendChannel OpenBackendChannel(FileDescriptor? descriptor) => link.OpenBackendChannel(descriptor);
    }
}
