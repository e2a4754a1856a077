using System.Buffers.Binary;
using CsCheck;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

/// <summary>A client that lies: each message gets an error or ends the session with a reason, and the next client is served.</summary>
public sealed class HostileClientTests
{
    public static TheoryData<string, VfioUserCommand, byte[], int> Refused()
    {
        var data = new TheoryData<string, VfioUserCommand, byte[], int>
        {
            { "unknown command", (VfioUserCommand)99, [], Errno.EINVAL },
            { "a server's command", VfioUserCommand.DmaRead, new byte[16], Errno.EINVAL },
            { "second version", VfioUserCommand.Version, new VfioUserCapabilities().Encode(1), Errno.EINVAL },
            { "feature", VfioUserCommand.DeviceFeature, new byte[8], Errno.ENOTTY },
            { "info too short", VfioUserCommand.DeviceGetInfo, new byte[15], Errno.EINVAL },
            { "info with argsz 0", VfioUserCommand.DeviceGetInfo, new byte[16], Errno.EINVAL },
            { "region 9", VfioUserCommand.DeviceGetRegionInfo, Words(32, 0, 9, 0, 0, 0, 0, 0), Errno.EINVAL },
            { "region -1", VfioUserCommand.DeviceGetRegionInfo, Words(32, 0, uint.MaxValue, 0, 0, 0, 0, 0), Errno.EINVAL },
            { "irq 5", VfioUserCommand.DeviceGetIrqInfo, Words(16, 0, 5, 0), Errno.EINVAL },
            { "io fds with count", VfioUserCommand.DeviceGetRegionIoFds, Words(64, 0, 0, 1), Errno.EINVAL },
            { "irqs without action", VfioUserCommand.DeviceSetIrqs, Words(20, 1, 2, 0, 1), Errno.EINVAL },
            { "irqs with two actions", VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 8 | 16, 2, 0, 1), Errno.EINVAL },
            { "irqs with two kinds", VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 2 | 32, 2, 0, 1), Errno.EINVAL },
            { "irqs beyond", VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 32, 2, 7, 2), Errno.EINVAL },
            { "irqs wrap", VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 32, 2, 1, uint.MaxValue), Errno.EINVAL },
            { "irqs start beyond", VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 32, 2, 9, 0), Errno.EINVAL },
            { "irqs bools missing", VfioUserCommand.DeviceSetIrqs, Words(20, 2 | 32, 2, 0, 4), Errno.EINVAL },
            { "read beyond", VfioUserCommand.RegionRead, Access(65535, 0, 2), Errno.EINVAL },
            { "read wraps", VfioUserCommand.RegionRead, Access(ulong.MaxValue, 0, 2), Errno.EINVAL },
            { "read huge", VfioUserCommand.RegionRead, Access(0, 0, uint.MaxValue), Errno.EINVAL },
            { "read nothing there", VfioUserCommand.RegionRead, Access(0, 1, 1), Errno.EINVAL },
            { "write read-only", VfioUserCommand.RegionWrite, [.. Access(0, 6, 1), 0], Errno.EPERM },
            { "write with too little", VfioUserCommand.RegionWrite, [.. Access(0, 0, 4), 1, 2, 3], Errno.EINVAL },
            { "write with too much", VfioUserCommand.RegionWrite, [.. Access(0, 0, 4), 1, 2, 3, 4, 5], Errno.EINVAL },
            { "multi with a lie", VfioUserCommand.RegionWriteMulti, [.. Words(2, 0), .. Access(0, 0, 4), .. new byte[8]], Errno.EINVAL },
            { "multi overflow", VfioUserCommand.RegionWriteMulti, Words(0xaaaaaaab, 0xaaaaaaaa), Errno.EINVAL },
            { "multi too wide", VfioUserCommand.RegionWriteMulti, [.. Words(1, 0), .. Access(0, 0, 9), .. new byte[8]], Errno.EINVAL },
            { "map of nothing", VfioUserCommand.DmaMap, Map(0x1000, 0), Errno.EINVAL },
            { "map wraps", VfioUserCommand.DmaMap, Map(0x1000, ulong.MaxValue), Errno.EINVAL },
            { "map with unknown flags", VfioUserCommand.DmaMap, Map(0x1000, 0x1000, flags: 0x80), Errno.EINVAL },
            { "map by mmap without file", VfioUserCommand.DmaMap, Map(0x1000, 0x1000, flags: 7), Errno.EINVAL },
            { "unmap of nothing", VfioUserCommand.DmaUnmap, [.. Words(24, 0), .. new byte[16]], Errno.ENOENT },
            { "unmap with bitmap", VfioUserCommand.DmaUnmap, [.. Words(24, 1), .. new byte[16]], Errno.EOPNOTSUPP },
        };
        return data;
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public void Bad_commands_get_an_error_and_the_session_goes_on(string name, VfioUserCommand command, byte[] payload, int error)
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        (VfioUserHeader header, byte[] reply) = peer.Ask(command, payload);
        Assert.True(header.IsError, name);
        Assert.Equal(error, (int)header.Error);
        Assert.Empty(reply);
        Assert.Single(harness.Reports);
        Assert.False(peer.Ask(VfioUserCommand.DeviceGetInfo, Words(16, 0, 0, 0)).Header.IsError);
    }

    [Fact]
    public void Descriptors_where_none_belong_are_refused_and_closed()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        (UnixSocket probe, UnixSocket passed) = UnixSocket.CreatePair();
        using (probe)
        {
            peer.SendRaw(VfioUserHeader.ForCommand(1, VfioUserCommand.DeviceGetInfo, 16), Words(16, 0, 0, 0), passed.Raw, passed.Raw);
            passed.Dispose();
            Assert.True(peer.Read()!.Value.Header.IsError);
            Assert.Equal(WaitResult.Ready, probe.WaitReadable(60_000));
        }

        using MemoryFile file = MemoryFile.Create("m", 4096);
        Assert.True(peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096), file.Raw, file.Raw).Header.IsError);
        Assert.True(peer.Ask(VfioUserCommand.DeviceSetIrqs, Words(20, 4 | 32, 2, 0, 2), file.Raw).Header.IsError);
        Assert.True(peer.Ask(VfioUserCommand.DeviceSetIrqs, Words(20, 1 | 32, 2, 0, 1), file.Raw).Header.IsError);
    }

    [Fact]
    public void Memory_that_the_file_does_not_hold_overlaps_or_cannot_be_mapped_is_refused()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        using MemoryFile file = MemoryFile.Create("m", 8192);
        Assert.Equal(Errno.EINVAL, (int)peer.Ask(VfioUserCommand.DmaMap, Map(0, 12288), file.Raw).Header.Error);
        Assert.Equal(Errno.EINVAL, (int)peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096, offset: ulong.MaxValue), file.Raw).Header.Error);
        using EventFd none = EventFd.Create();
        Assert.True(peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096), none.Raw).Header.IsError);
        Assert.False(peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096, offset: 4096), file.Raw).Header.IsError);
        Assert.Equal(Errno.EEXIST, (int)peer.Ask(VfioUserCommand.DmaMap, Map(4095, 4096), file.Raw).Header.Error);
        harness.Device.Expect("mapped 0+1000");
        Assert.Equal(Errno.ENOENT, (int)peer.Ask(VfioUserCommand.DmaUnmap, [.. Words(24, 0, 0, 0), .. Words(4095, 0)]).Header.Error);
    }

    [Fact]
    public void A_full_eventfd_does_not_stop_the_device()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        using EventFd blocking = EventFd.Create(uint.MaxValue, nonBlocking: false);
        Assert.False(peer.Ask(VfioUserCommand.DeviceSetIrqs, Words(20, 4 | 32, 2, 0, 1), blocking.Raw).Header.IsError);
        ulong nearlyFull = ulong.MaxValue - 1 - uint.MaxValue;
        FileIoWrite(blocking.Raw, nearlyFull);
        Assert.True(harness.Device.Session!.Interrupts.Trigger(VfioUserIrqs.Msix, 0));
        Assert.True(harness.Device.Session.Interrupts.Trigger(VfioUserIrqs.Msix, 0));
    }

    [Theory]
    [InlineData(0u, 0u)] // shorter than its header
    [InlineData(15u, 0u)]
    [InlineData(uint.MaxValue, 0u)]
    [InlineData(16u + (1 << 20) + 65, 0u)] // longer than what is possible
    [InlineData(16u, 2u)] // neither command nor reply
    [InlineData(16u, 1u)] // a reply to nothing
    public void A_broken_frame_ends_the_session_and_the_next_client_is_served(uint size, uint flags)
    {
        using var harness = new Harness();
        using (RawPeer peer = harness.ConnectRaw())
        {
            peer.SendRaw(new VfioUserHeader(3, VfioUserCommand.DeviceGetInfo, size, flags, 0), []);
            Assert.Null(peer.Read());
            harness.Device.Expect("disconnected");
        }

        using VfioUserClient next = harness.Connect();
        harness.ExpectReport("a session ended: the peer sent");
    }

    [Fact]
    public void A_message_that_is_begun_and_not_finished_ends_the_session_in_time()
    {
        using var harness = new Harness(timeoutMilliseconds: 50);
        using RawPeer peer = harness.ConnectRaw();
        peer.Socket.SendAll([1, 2, 3]);
        Assert.Null(peer.Read());
        harness.Device.Expect("disconnected");
        harness.ExpectReport("did not finish");
    }

    [Fact]
    public void A_client_that_owes_a_dma_reply_is_given_up_in_time()
    {
        using var harness = new Harness(timeoutMilliseconds: 50);
        using RawPeer peer = harness.ConnectRaw();
        Assert.False(peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096)).Header.IsError);
        harness.Device.Expect("mapped 0+1000");
        peer.SendRaw(VfioUserHeader.ForCommand(9, VfioUserCommand.RegionWrite, 24), [.. Access(8, 0, 8), .. new byte[8]]);
        Assert.Equal(VfioUserCommand.DmaRead, peer.Read()!.Value.Header.Command);
        Assert.Null(peer.Read());
        harness.Device.Expect("disconnected");
    }

    [Fact]
    public void A_client_that_floods_commands_while_it_owes_a_reply_is_cut_off()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        Assert.False(peer.Ask(VfioUserCommand.DmaMap, Map(0, 4096)).Header.IsError);
        peer.SendRaw(VfioUserHeader.ForCommand(9, VfioUserCommand.RegionWrite, 24), [.. Access(8, 0, 8), .. new byte[8]]);
        try
        {
            for (int i = 0; i < 300; i++)
            {
                peer.SendRaw(VfioUserHeader.ForCommand(1, VfioUserCommand.DeviceReset, 0), []);
            }
        }
        catch (LinuxException e) when (e.Error is Errno.EPIPE or Errno.ECONNRESET)
        {
            // Cut off already.
        }

        harness.Device.Expect("mapped 0+1000");
        harness.Device.Expect("disconnected");
    }

    [Fact]
    public void Without_version_first_nothing_is_served()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw(negotiate: false);
        Assert.True(peer.Ask(VfioUserCommand.DeviceGetInfo, Words(16, 0, 0, 0)).Header.IsError);
        Assert.Null(peer.Read());
        Assert.Empty(harness.Device.Events);
    }

    [Fact]
    public void A_command_that_wants_no_reply_gets_none_even_where_it_is_refused()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        peer.SendRaw(VfioUserHeader.ForCommand(1, VfioUserCommand.RegionRead, 16) with { Flags = 0x10 }, Access(1 << 20, 0, 1));
        peer.SendRaw(VfioUserHeader.ForCommand(2, VfioUserCommand.RegionWrite, 20) with { Flags = 0x10 }, [.. Access(16, 0, 4), 1, 2, 3, 4]);
        (VfioUserHeader header, byte[] payload) = peer.Ask(VfioUserCommand.RegionRead, Access(16, 0, 4));
        Assert.Equal(VfioUserCommand.RegionRead, header.Command);
        Assert.Equal([1, 2, 3, 4], payload[16..]);
    }

    [Fact]
    public void Random_commands_leave_the_server_alive()
    {
        using var harness = new Harness();
        using RawPeer peer = harness.ConnectRaw();
        Gen.Select(Gen.UShort[4, 18], Gen.Byte.Array[0, 64], Gen.UInt[0, 8]).Sample(
            (command, payload, first) =>
            {
                // Small numbers pass the first checks more often than evenly spread ones.
                for (int at = 0; at + 4 <= payload.Length; at += 4)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(at), BinaryPrimitives.ReadUInt32LittleEndian(payload.AsSpan(at)) >> (int)(first * 4 % 32));
                }

                if ((VfioUserCommand)command is VfioUserCommand.RegionWrite or VfioUserCommand.RegionWriteMulti)
                {
                    return true; // a write to register 8 makes the device ask back; that has tests of its own
                }

                return peer.Ask((VfioUserCommand)command, payload).Header.IsReply;
            },
            iter: 2000,
            threads: 1);
        Assert.False(peer.Ask(VfioUserCommand.DeviceGetInfo, Words(16, 0, 0, 0)).Header.IsError);
    }

    private static byte[] Words(params uint[] words)
    {
        byte[] bytes = new byte[words.Length * 4];
        for (int i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), words[i]);
        }

        return bytes;
    }

    private static byte[] Access(ulong offset, uint region, uint count) => Words((uint)offset, (uint)(offset >> 32), region, count);

    private static byte[] Map(ulong iova, ulong size, uint flags = 3, ulong offset = 0) => Words(
        32, flags, (uint)offset, (uint)(offset >> 32), (uint)iova, (uint)(iova >> 32), (uint)size, (uint)(size >> 32));

    private static void FileIoWrite(int fd, ulong value)
    {
        using var stream = new FileStream(new Microsoft.Win32.SafeHandles.SafeFileHandle(fd, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        stream.Write(BitConverter.GetBytes(value));
    }
}
