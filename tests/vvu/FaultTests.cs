using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;
using Vhost.Virtio;

namespace Vhost.Vvu.Tests;

/// <summary>A fault at each message: a master that sends it wrongly, that dies after it or within it, and an appliance that restarts after it.</summary>
public sealed class FaultTests
{
    private const int BlockBytes = 4096;

    // Payload length, what fills it, eventfds and memory files that go along, and whether an acknowledgement is asked for.
    private static readonly (int Length, byte Fill, int EventFds, int Files, bool NeedsReply)[] Forms =
    [
        (0, 0, 0, 0, true), (1, 0, 0, 0, false), (8, 0, 0, 0, true), (8, 0xff, 1, 0, false), (20, 0xff, 0, 1, false), (24, 0, 8, 0, true),
        (40, 0xff, 0, 0, false), (264, 0xff, 0, 8, true), (4096, 0, 0, 0, false),
    ];

    public static TheoryData<string, bool> Devices() => new() { { "capabilities", false }, { "capabilities", true }, { "fixed", false }, { "fixed", true } };

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task Every_request_in_every_wrong_form_ends_its_session_or_is_answered(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished);
        using var eventFd = EventFd.Create();
        using var memory = MemoryFile.Create("fault", 1 << 16);
        var answered = 0;
        var ended = 0;
        foreach (var request in (FrontEndRequest[])[.. Enum.GetValues<FrontEndRequest>(), (FrontEndRequest)41, (FrontEndRequest)uint.MaxValue])
        {
            foreach (var (length, fill, eventFds, files, needsReply) in Forms)
            {
                using var connection = harness.ConnectRaw();
                connection.TimeoutMilliseconds = 60_000;
                connection.AskNumber(FrontEndRequest.GetFeatures);
                connection.NegotiateProtocol((ProtocolFeatures)ulong.MaxValue);
                var bytes = new byte[MessageHeader.LengthBytes + length];
                new MessageHeader((uint)request, MessageHeader.Version | (needsReply ? MessageHeader.NeedReplyFlag : 0), (uint)length).Write(bytes);
                bytes.AsSpan(MessageHeader.LengthBytes).Fill(fill);
                connection.SendRaw(bytes, [.. Enumerable.Repeat(eventFd.Raw, eventFds), .. Enumerable.Repeat(memory.Raw, files)]);
                if (Answers(connection))
                {
                    answered++;
                }
                else
                {
                    ended++;
                }
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{answered} answered, {ended} ended");
        Assert.InRange(answered, 10, ended);
        Assert.DoesNotContain(harness.Logger.Errors, line => line.Contains("fault of this program", StringComparison.Ordinal));

        // Each was told of with a reason; how a connection that this side closed looks from there depends on who was first.
        Assert.InRange(
            harness.DeviceLines.Count(line => line.Contains("closed:", StringComparison.Ordinal) && !line.EndsWith("the other VM closed the connection", StringComparison.Ordinal)),
            ended, ended + answered);
        Verify(harness);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task A_master_that_dies_after_or_within_any_message_harms_nobody(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished);
        using var master = new Master(harness, isPublished);
        for (var count = 0; count <= master.Steps.Count; count++)
        {
            foreach (var isWithin in (bool[])[false, true])
            {
                using var connection = harness.ConnectRaw();
                master.Run(connection, count);
                if (isWithin)
                {
                    connection.SendRaw([(byte)FrontEndRequest.SetVringNum, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 2]);
                }
            }
        }

        Assert.DoesNotContain(harness.Logger.Errors, line => line.Contains("fault of this program", StringComparison.Ordinal));
        Verify(harness);
    }

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task An_appliance_that_restarts_after_any_message_makes_the_master_begin_anew(string layout)
    {
        await using var harness = await VvuHarness.StartAsync(layout);
        using var master = new Master(harness, isPublished: false);
        for (var count = 0; count <= master.Steps.Count; count++)
        {
            using var connection = harness.ConnectRaw();
            master.Run(connection, count);
            if (count == 0)
            {
                // Seen at all, before the driver goes.
                connection.AskNumber(FrontEndRequest.GetFeatures);
            }

            await harness.RestartTransportAsync();
            connection.TimeoutMilliseconds = 60_000;
            connection.WaitClosed();
        }

        Verify(harness);
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task A_master_that_a_published_device_kept_over_a_restart_is_not_answered_but_made_to_begin_anew(string layout)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: true);
        using (var connection = harness.ConnectRaw())
        {
            // What a restarted vhostd sees when the other VM reboots: its QEMU stops the queues. An answer of 0 would have it do old requests again.
            connection.TimeoutMilliseconds = 60_000;
            var failure = Assert.Throws<FrontEndException>(() => connection.Ask(FrontEndRequest.GetVringBase, new byte[VringState.LengthBytes]));
            Assert.True(failure.IsClosed, failure.Message);
        }

        Assert.Contains(harness.Logger.Errors, line => line.Contains("its first message is GetVringBase", StringComparison.Ordinal) && line.Contains("restart the Compute VM", StringComparison.Ordinal));
        Verify(harness);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public async Task A_master_that_is_killed_within_requests_leaves_a_device_for_the_next(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished, drainTimeout: TimeSpan.FromSeconds(1));
        for (var round = 0; round < 3; round++)
        {
            using (var device = harness.Connect(isScsi: true))
            {
                var requests = new VirtioScsiRequests(device, 8, BlockBytes);
                harness.Port.IsDeferring = true;
                for (var slot = 0; slot < 8; slot++)
                {
                    Assert.True(requests.TryAdd(device.RequestQueue(0).Ring, slot, isWrite: true, (ulong)slot, BlockBytes));
                }

                device.RequestQueue(0).Publish();
                await VvuHarness.WaitForAsync(() => harness.Port.PendingCount == 8, "the requests");
            }

            harness.OnReactor(() =>
            {
                harness.Port.IsDeferring = false;
                harness.Port.CompletePending();
            });
            await VvuHarness.WaitForAsync(() => harness.Port.PendingCount == 0 && !harness.Port.IsDeferring, "the requests to end");
            Verify(harness);
        }
    }

    private static bool Answers(FrontEndConnection connection)
    {
        try
        {
            connection.Send(FrontEndRequest.GetFeatures, []);
            while (true)
            {
                using var reply = connection.Receive();
                if (reply.Request == FrontEndRequest.GetFeatures)
                {
                    return true;
                }
            }
        }
        catch (FrontEndException exception) when (exception.IsClosed)
        {
            return false;
        }
        catch (LinuxException exception) when (exception.Error is Errno.EPIPE or Errno.ECONNRESET)
        {
            return false;
        }
    }

    private static void Verify(VvuHarness harness)
    {
        using var next = harness.Connect(isScsi: true);
        var requests = new VirtioScsiRequests(next, 1, BlockBytes);
        Assert.True(requests.Execute(next.RequestQueue(0), 0, isWrite: true, 0, BlockBytes), requests.DescribeResult(0));
    }

    /// <summary>What a master says from the beginning until its queue runs, and stops.</summary>
    private sealed class Master : IDisposable
    {
        private const int Queue = 2;
        private readonly EventFd _kick = EventFd.Create();
        private readonly EventFd _call = EventFd.Create();
        private readonly MemoryFile _log = MemoryFile.Create("log", 1 << 16);

        public Master(VvuHarness harness, bool isPublished)
        {
            var rings = harness.Memory.Allocate(0x3000, 4096);
            rings.Span.Clear();
            var address = new byte[VringAddress.LengthBytes];
            new VringAddress(Queue, 0, rings.UserAddress, rings.UserAddress + 0x2000, rings.UserAddress + 0x1000, 0).Write(address);
            Steps.AddRange(
            [
                connection => connection.AskNumber(FrontEndRequest.GetFeatures),
                connection => connection.NegotiateProtocol((ProtocolFeatures)ulong.MaxValue),
                connection => connection.Tell(FrontEndRequest.SetOwner, []),
                connection => connection.AskNumber(FrontEndRequest.GetQueueNum),
                connection => connection.TellNumber(FrontEndRequest.SetFeatures, VirtioFeatures.Version1 | VhostUserFeatures.ProtocolFeatures),
                harness.Memory.AnnounceTable,
                connection => connection.TellVring(FrontEndRequest.SetVringNum, Queue, 64),
                connection => connection.TellVring(FrontEndRequest.SetVringBase, Queue, 0),
                connection => connection.Tell(FrontEndRequest.SetVringAddress, address),
                connection => connection.TellNumber(FrontEndRequest.SetVringCall, Queue, _call.Raw),
                connection => connection.TellNumber(FrontEndRequest.SetVringKick, Queue, _kick.Raw),
                connection => connection.TellVring(FrontEndRequest.SetVringEnable, Queue, 1),
            ]);
            if (!isPublished)
            {
                Steps.AddRange(
                [
                    connection => connection.TellNumber(FrontEndRequest.SetVringError, Queue, _call.Raw),
                    connection =>
                    {
                        var wanted = new byte[24];
                        new SharedAreaDescription(0, 0, Queue + 1, 64).WriteInFlight(wanted);
                        var area = connection.Ask(FrontEndRequest.GetInFlightFd, wanted, out var file);
                        using var owned = file;
                        connection.Tell(FrontEndRequest.SetInFlightFd, area.Span, file.Raw);
                    },
                    connection =>
                    {
                        var log = new byte[SharedAreaDescription.LogWireBytes];
                        new SharedAreaDescription(4096, 0).WriteLog(log);
                        connection.Ask(FrontEndRequest.SetLogBase, log, _log.Raw);
                    },
                    connection => connection.Tell(FrontEndRequest.SetLogFd, [], _call.Raw),
                    connection =>
                    {
                        var (mine, theirs) = UnixSocket.CreatePair();
                        using (mine)
                        using (theirs)
                        {
                            connection.Tell(FrontEndRequest.SetBackendRequestFd, [], theirs.Raw);
                        }
                    },
                    connection => connection.TellNumber(FrontEndRequest.SetStatus, 0xf),
                    connection => connection.AskNumber(FrontEndRequest.GetStatus),
                    connection => connection.AskNumber(FrontEndRequest.GetMaxMemorySlots),
                ]);
            }

            Steps.Add(connection =>
            {
                var state = new byte[VringState.LengthBytes];
                new VringState(Queue, 0).Write(state);
                connection.Ask(FrontEndRequest.GetVringBase, state);
            });
        }

        public List<Action<FrontEndConnection>> Steps { get; } = [];

        public void Run(FrontEndConnection connection, int count)
        {
            connection.TimeoutMilliseconds = 60_000;
            for (var i = 0; i < count; i++)
            {
                Steps[i](connection);
            }
        }

        public void Dispose()
        {
            _kick.Dispose();
            _call.Dispose();
            _log.Dispose();
        }
    }
}
