using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.VhostUser.Tests;

/// <summary>Each fault of a front-end ends its session with one named reason; nothing leaks, and the next front-end is served.</summary>
public sealed class BadInputTests
{
    private const FrontEndRequest Nonsense = (FrontEndRequest)77;

    private static readonly Dictionary<string, (string Reason, Action<FrontEndConnection> Fault)> Cases = new()
    {
        ["a foreign protocol"] = ("version", c => c.SendRaw("GET / HTTP/1.1\r\n\r\n"u8)),
        ["version 0"] = ("version 0", c => c.SendRaw(Header(1, 0, 0))),
        ["version 2"] = ("version 2", c => c.SendRaw(Header(1, 2, 0))),
        ["the reply flag"] = ("flags 0x5", c => c.SendRaw(Header(1, 5, 0))),
        ["unknown flags"] = ("flags 0x11", c => c.SendRaw(Header(1, 0x11, 0))),
        ["a huge payload"] = ("announces 4294967295 bytes", c => c.SendRaw(Header(5, 1, uint.MaxValue))),
        ["an end within the header"] = ("middle of a message", c => Cut(c, [1, 0, 0])),
        ["an end within the payload"] = ("middle of a message", c => Cut(c, Header(2, 1, 8))),
        ["request 0"] = ("request 0 is not offered", c => c.Send(FrontEndRequest.None, [])),
        ["an unknown request"] = ("request 77 is not offered", c => c.Send(Nonsense, [])),
        ["an IOTLB message"] = ("IotlbMessage is not offered", c => c.Send(FrontEndRequest.IotlbMessage, new byte[32])),
        ["a post-copy message"] = ("PostcopyAdvise is not offered", c => c.Send(FrontEndRequest.PostcopyAdvise, [])),
        ["a short number"] = ("4 bytes of payload, not 8", c => c.Send(FrontEndRequest.SetFeatures, new byte[4])),
        ["a long number"] = ("16 bytes of payload, not 8", c => c.Send(FrontEndRequest.SetFeatures, new byte[16])),
        ["a payload where there is none"] = ("8 bytes of payload, not 0", c => c.Send(FrontEndRequest.SetOwner, new byte[8])),
        ["a short ring state"] = ("not 8", c => c.Send(FrontEndRequest.SetVringNum, new byte[7])),
        ["a short ring address"] = ("not 40", c => c.Send(FrontEndRequest.SetVringAddress, new byte[39])),
        ["features that were not offered"] = ("not offered: 0x200000000", c => Number(c, FrontEndRequest.SetFeatures, VhostUserFeatures.AccessPlatform)),
        ["protocol features that were not offered"] = ("not offered: 0x4000", c => Number(c, FrontEndRequest.SetProtocolFeatures, 1 << 14)),
        ["a descriptor where there is none"] = ("carries 1 file descriptors, not 0", c => WithFiles(c, FrontEndRequest.SetOwner, [], 1)),
        ["too many descriptors"] = ("more than 8 file descriptors", c => WithFiles(c, FrontEndRequest.SetOwner, [], 12)),
        ["descriptors on the payload"] = ("carries 2 file descriptors, not 0", c => LateFiles(c, 2)),
        ["a kick without its descriptor"] = ("carries 0 file descriptors, not 1", c => Number(c, FrontEndRequest.SetVringKick, 0)),
        ["a kick with a descriptor that says it has none"] = ("carries 1 file descriptors, not 0", c => WithFiles(c, FrontEndRequest.SetVringKick, Bytes(1 << 8), 1)),
        ["a kick that is no eventfd"] = ("the kick of queue 0 is no eventfd", c => WithFiles(c, FrontEndRequest.SetVringKick, Bytes(0), 1)),
        ["a call that is no eventfd"] = ("the interrupt of queue 0 is no eventfd", c => WithFiles(c, FrontEndRequest.SetVringCall, Bytes(0), 1)),
        ["a kick with unknown bits"] = ("impossible value 0x10000", c => Number(c, FrontEndRequest.SetVringKick, 1 << 16)),
        ["a ring that is not there"] = ("queue 4, but the device has 4", c => State(c, FrontEndRequest.SetVringNum, 4, 8)),
        ["a ring far out"] = ("queue 4294967295", c => State(c, FrontEndRequest.GetVringBase, uint.MaxValue, 0)),
        ["a kick of a ring that is not there"] = ("queue 255", c => WithFiles(c, FrontEndRequest.SetVringKick, Bytes(255), 1)),
        ["a ring of no entries"] = ("has 0 entries", c => State(c, FrontEndRequest.SetVringNum, 0, 0)),
        ["a ring of too many entries"] = ("has 2048 entries", c => State(c, FrontEndRequest.SetVringNum, 0, 2048)),
        ["unknown address flags"] = ("unknown address flags 0x2", c => c.Send(FrontEndRequest.SetVringAddress, Bytes(new VringAddress(0, 2, 0, 0, 0, 0)))),
        ["too many regions"] = ("has 9 regions", c => c.Send(FrontEndRequest.SetMemoryTable, Table(9))),
        ["fewer regions than announced"] = ("bytes of payload for 3 regions", c => c.Send(FrontEndRequest.SetMemoryTable, Table(3)[..40])),
        ["regions without descriptors"] = ("carries 0 file descriptors, not 2", c => c.Send(FrontEndRequest.SetMemoryTable, Table(2))),
        ["regions with too many descriptors"] = ("carries 3 file descriptors, not 2", c => WithFiles(c, FrontEndRequest.SetMemoryTable, Table(2), 3)),
        ["an empty region"] = ("is empty", c => Regions(c, new RegionDescription(0, 0, 0, 0))),
        ["a region that wraps"] = ("wraps around", c => Regions(c, new RegionDescription(ulong.MaxValue - 4095, 8192, 0, 0))),
        ["a region whose user addresses wrap"] = ("wraps around", c => Regions(c, new RegionDescription(0, 8192, ulong.MaxValue - 4095, 0))),
        ["a region with an impossible offset"] = ("impossible offset", c => Regions(c, new RegionDescription(0, 4096, 0, ulong.MaxValue - 4095))),
        ["regions that overlap"] = ("overlap", c => Regions(c, new RegionDescription(0, 8192, 0, 0), new RegionDescription(4096, 4096, 1 << 20, 0))),
        ["regions whose user addresses overlap"] = ("overlap", c => Regions(c, new RegionDescription(0, 8192, 4096, 0), new RegionDescription(1 << 20, 8192, 0, 0))),
        ["a region past the end of its file"] = ("of its file, which has 0x10000", c => Regions(c, new RegionDescription(0, 1 << 17, 0, 0))),
        ["a region that begins past the end of its file"] = ("of its file, which has", c => Regions(c, new RegionDescription(0, 4096, 0, 1 << 20))),
        ["more memory than there can be"] = ("TiB", c => Regions(c, new RegionDescription(0, 1UL << 45, 0, 0))),
        ["memory that is no file"] = ("is not backed by a file", c => RegionOfSocket(c)),
        ["memory that may not be read"] = ("cannot be mapped", c => RegionWriteOnly(c)),
        ["a protocol feature's message without it"] = ("without the protocol feature Config", c => c.Send(FrontEndRequest.GetConfig, new byte[12])),
        ["memory slots without the feature"] = ("without the protocol feature ConfigureMemorySlots", c => c.Send(FrontEndRequest.AddMemoryRegion, new byte[40])),
        ["a channel without the feature"] = ("without the protocol feature BackendRequest", c => WithFiles(c, FrontEndRequest.SetBackendRequestFd, [], 1)),
        ["a device reset without the feature"] = ("without the protocol feature ResetDevice", c => c.Send(FrontEndRequest.ResetDevice, [])),
        ["a short configuration request"] = ("fewer than 12", c => Negotiated(c, () => c.Send(FrontEndRequest.GetConfig, new byte[8]))),
        ["an impossible configuration write"] = ("impossible range", c => Negotiated(c, () => c.Send(FrontEndRequest.SetConfig, Config(200, 57, 100)))),
        ["a configuration write without its bytes"] = ("impossible range", c => Negotiated(c, () => c.Send(FrontEndRequest.SetConfig, Config(0, 8, 4)))),
        ["an impossible status"] = ("impossible value 0x100", c => Negotiated(c, () => Number(c, FrontEndRequest.SetStatus, 256))),
        ["a channel that is no socket"] = ("is no socket", c => Negotiated(c, () => WithFiles(c, FrontEndRequest.SetBackendRequestFd, [], 1))),
        ["the removal of a region that is not there"] = ("names no region", c => Negotiated(c, () => c.Send(FrontEndRequest.RemoveMemoryRegion, new byte[40]))),
        ["the same region twice"] = ("overlap", c => Negotiated(c, () => TwiceTheSame(c))),
        ["a ring outside memory"] = ("is not within one memory region", c => Ring(c, a => a with { Descriptors = 1UL << 40 })),
        ["a ring past the end of memory"] = ("the used ring", c => Ring(c, a => a with { Used = 0x5550_0000_0000 + (1 << 20) - 8 })),
        ["a ring whose address wraps"] = ("is not within one memory region", c => Ring(c, a => a with { Available = ulong.MaxValue - 1 })),
        ["an unaligned descriptor table"] = ("not aligned to 16", c => Ring(c, a => a with { Descriptors = a.Descriptors + 8 })),
        ["an unaligned available ring"] = ("not aligned to 2", c => Ring(c, a => a with { Available = a.Available + 1 })),
        ["an unaligned used ring"] = ("not aligned to 4", c => Ring(c, a => a with { Used = a.Used + 2 })),
        ["a split ring whose size is no power of two"] = ("not a power of two", c => Ring(c, a => a, size: 12)),
        ["an impossible split base"] = ("impossible base", c => Ring(c, a => a, start: 0x10000)),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_fault_ends_its_session_with_one_reason(string name)
    {
        await using var harness = await TransportHarness.StartAsync();
        using (var first = harness.Connect())
        {
            first.AskNumber(FrontEndRequest.GetFeatures);
        }

        await TransportHarness.WaitForAsync(() => harness.Transport.Status == "listening", "the warm-up session has ended");
        var descriptors = TransportHarness.Descriptors();
        var (reason, fault) = Cases[name];
        using (var connection = harness.Connect())
        {
            fault(connection);
            connection.WaitClosed();
        }

        await TransportHarness.WaitForAsync(() => harness.Device.Sessions.Count == 2 && harness.Device.Session.IsDisposed, "the session ends");
        await TransportHarness.WaitForAsync(() => harness.Transport.Status == "listening", "the transport listens again");
        var error = Assert.Single(harness.Logger.Errors);
        Assert.Contains(reason, error, StringComparison.Ordinal);
        Assert.Empty(harness.Device.Session.Running);
        Assert.Equal(0, harness.Registry.RegisteredCount);
        // What others of the process have open meanwhile is not the session's; what it left open stays.
        await TransportHarness.WaitForAsync(() => !TransportHarness.Descriptors().Except(descriptors).Any(), "all descriptors of the session are closed");

        using var next = harness.Connect();
        Assert.NotEqual(0u, next.AskNumber(FrontEndRequest.GetFeatures));
    }

    [Fact]
    public async Task A_refusal_is_acknowledged_before_the_link_closes()
    {
        await using var harness = await TransportHarness.StartAsync();
        using var connection = harness.Connect();
        TransportHarness.Negotiate(connection);
        var refusal = Assert.Throws<FrontEndException>(() => connection.TellVring(FrontEndRequest.SetVringNum, 0, 0));
        Assert.False(refusal.IsClosed);
        connection.WaitClosed();
    }

    [Fact]
    public async Task A_front_end_that_stops_within_a_message_does_not_hold_up_a_stop()
    {
        // The message would be waited for, and so would a drain, far beyond the limit of this test.
        await using var harness = await TransportHarness.StartAsync(TimeSpan.FromHours(1));
        using var connection = harness.Connect();
        connection.SendRaw(Header(2, 1, 8));
        await TransportHarness.WaitForAsync(() => harness.Device.Sessions.Count == 1, "the session begins");
        await harness.Transport.StopAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
    }

    private static byte[] Header(uint request, uint flags, uint length)
    {
        var bytes = new byte[MessageHeader.LengthBytes];
        new MessageHeader(request, flags, length).Write(bytes);
        return bytes;
    }

    private static byte[] Bytes(ulong number)
    {
        var bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, number);
        return bytes;
    }

    private static byte[] Bytes(VringAddress address)
    {
        var bytes = new byte[VringAddress.LengthBytes];
        address.Write(bytes);
        return bytes;
    }

    private static byte[] Config(uint offset, uint length, int present)
    {
        var bytes = new byte[ConfigRange.WireBytes + present];
        new ConfigRange(offset, length, 0).Write(bytes);
        return bytes;
    }

    private static byte[] Table(int count)
    {
        var bytes = new byte[RegionDescription.PrefixBytes + (count * RegionDescription.WireBytes)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, count);
        for (var i = 0; i < count; i++)
        {
            new RegionDescription((ulong)i << 20, 4096, (ulong)i << 20, 0).Write(bytes.AsSpan(8 + (32 * i)));
        }

        return bytes;
    }

    private static void Number(FrontEndConnection connection, FrontEndRequest request, ulong number) => connection.Send(request, Bytes(number));

    private static void State(FrontEndConnection connection, FrontEndRequest request, uint index, uint number)
    {
        var bytes = new byte[VringState.LengthBytes];
        new VringState(index, number).Write(bytes);
        connection.Send(request, bytes);
    }

    private static void Cut(FrontEndConnection connection, byte[] bytes)
    {
        connection.SendRaw(bytes);
        connection.Socket.Shutdown();
    }

    private static void WithFiles(FrontEndConnection connection, FrontEndRequest request, byte[] payload, int count)
    {
        using var file = MemoryFile.Create("bad", 1 << 16);
        connection.Send(request, payload, [.. Enumerable.Repeat(file.Raw, count)]);
    }

    private static void LateFiles(FrontEndConnection connection, int count)
    {
        using var file = MemoryFile.Create("bad", 1 << 16);
        connection.SendRaw(Header((uint)FrontEndRequest.SetFeatures, 1, 8));
        connection.SendRaw(Bytes(0), [.. Enumerable.Repeat(file.Raw, count)]);
    }

    private static void Regions(FrontEndConnection connection, params ReadOnlySpan<RegionDescription> regions)
    {
        var payload = Table(regions.Length);
        for (var i = 0; i < regions.Length; i++)
        {
            regions[i].Write(payload.AsSpan(8 + (32 * i)));
        }

        WithFiles(connection, FrontEndRequest.SetMemoryTable, payload, regions.Length);
    }

    private static void RegionOfSocket(FrontEndConnection connection)
    {
        using var socket = UnixSocket.Create();
        connection.Send(FrontEndRequest.SetMemoryTable, Table(1), socket.Raw);
    }

    private static void RegionWriteOnly(FrontEndConnection connection)
    {
        using var file = MemoryFile.Create("bad", 1 << 16);
        using var writeOnly = FileIo.Open($"/proc/self/fd/{file.Raw}", OpenMode.WriteOnly);
        connection.Send(FrontEndRequest.SetMemoryTable, Table(1), writeOnly.Raw);
    }

    private static void Negotiated(FrontEndConnection connection, Action fault)
    {
        TransportHarness.Negotiate(connection);
        fault();
    }

    private static void TwiceTheSame(FrontEndConnection connection)
    {
        using var memory = new GuestMemory(0, 1 << 16);
        memory.Announce(connection);
        connection.AcknowledgesAll = false;
        memory.Announce(connection);
    }

    private static void Ring(FrontEndConnection connection, Func<VringAddress, VringAddress> change, int size = 8, uint start = 0)
    {
        TransportHarness.Negotiate(connection);
        using var memory = new GuestMemory(0, 1 << 20);
        memory.Announce(connection);
        using var queue = new TestQueue(memory, 0, size);
        connection.TellVring(FrontEndRequest.SetVringNum, 0, (uint)size);
        connection.TellVring(FrontEndRequest.SetVringBase, 0, start);
        TestQueue.TellAddress(connection, change(queue.Address));
        connection.TellVring(FrontEndRequest.SetVringEnable, 0, 1);
        connection.AcknowledgesAll = false;
        connection.TellNumber(FrontEndRequest.SetVringKick, 0, queue.Kick.Raw);
    }
}
