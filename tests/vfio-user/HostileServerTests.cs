using System.Buffers.Binary;
using Vhost.Linux;

namespace Vhost.VfioUser.Tests;

/// <summary>A server that lies: the client gives up with a reason, at once, and never crashes or waits for ever.</summary>
public sealed class HostileServerTests
{
    private const uint Mmap = 4;
    private const uint Caps = 8;

    [Theory]
    [InlineData(64u, 1u, 0x1000ul, 0x1000ul)] // capability offset outside
    [InlineData(4u, 1u, 0x1000ul, 0x1000ul)] // capability offset inside the structure
    [InlineData(32u, 1000u, 0x1000ul, 0x1000ul)] // more areas than bytes
    [InlineData(32u, 1u, 0x1000ul, 0x1001ul)] // area beyond the region
    [InlineData(32u, 1u, 0x3000ul, 0x0ul)] // empty area beyond the region
    [InlineData(32u, 1u, 0x1000ul, ulong.MaxValue)] // area wraps
    public void Lies_about_a_region_end_the_connection(uint capability, uint areas, ulong offset, ulong areaSize)
    {
        byte[] info = new byte[64];
        Put(info, 0, 64);
        Put(info, 4, 3 | Mmap | Caps);
        Put(info, 12, capability);
        Put64(info, 16, 0x2000);
        info[32] = 1;
        info[34] = 1;
        Put(info, 40, areas);
        Put64(info, 48, offset);
        Put64(info, 56, areaSize);
        using var liar = new Liar(VfioUserCommand.DeviceGetRegionInfo, info);
        using VfioUserClient client = VfioUserClient.Connect(liar.Path);
        Assert.Equal(Errno.EPROTO, Assert.Throws<VfioUserException>(() => client.GetRegion(0)).Error);
        Assert.NotNull(client.DisconnectReason);
    }

    [Theory]
    [InlineData(VfioUserCommand.DeviceGetRegionInfo, 31)]
    [InlineData(VfioUserCommand.DeviceGetIrqInfo, 15)]
    [InlineData(VfioUserCommand.RegionRead, 19)]
    [InlineData(VfioUserCommand.RegionRead, 21)]
    public void Short_and_long_replies_end_the_connection(VfioUserCommand command, int bytes)
    {
        byte[] reply = new byte[bytes];
        if (bytes >= 16)
        {
            Put(reply, 12, 4);
        }

        using var liar = new Liar(command, reply);
        using VfioUserClient client = VfioUserClient.Connect(liar.Path);
        Action call = command switch
        {
            VfioUserCommand.DeviceGetRegionInfo => () => client.GetRegion(0),
            VfioUserCommand.DeviceGetIrqInfo => () => client.GetIrq(2),
            _ => () => client.ReadRegion(0, 0, new byte[4]),
        };
        Assert.Equal(Errno.EPROTO, Assert.Throws<VfioUserException>(call).Error);
    }

    [Fact]
    public void Too_many_vectors_and_growing_descriptions_are_refused()
    {
        byte[] irq = new byte[16];
        Put(irq, 12, 1_000_000);
        using (var liar = new Liar(VfioUserCommand.DeviceGetIrqInfo, irq))
        using (VfioUserClient client = VfioUserClient.Connect(liar.Path))
        {
            Assert.Equal(Errno.EPROTO, Assert.Throws<VfioUserException>(() => client.GetIrq(2)).Error);
        }

        byte[] huge = new byte[32];
        Put(huge, 0, uint.MaxValue);
        using (var liar = new Liar(VfioUserCommand.DeviceGetRegionInfo, huge))
        using (VfioUserClient client = VfioUserClient.Connect(liar.Path))
        {
            Assert.Equal(Errno.EPROTO, Assert.Throws<VfioUserException>(() => client.GetRegion(0)).Error);
        }
    }

    [Fact]
    public void A_server_that_closes_in_the_middle_frees_the_caller()
    {
        using var liar = new Liar(VfioUserCommand.RegionRead, null);
        using VfioUserClient client = VfioUserClient.Connect(liar.Path);
        Assert.Throws<VfioUserException>(() => client.ReadRegion(0, 0, new byte[4]));
        Assert.True(client.Disconnected.WaitHandle.WaitOne(60_000));
    }

    [Fact]
    public void Memory_that_was_not_mapped_is_not_read_by_messages()
    {
        using var liar = new Liar(VfioUserCommand.RegionRead, null, askForMemory: true);
        using VfioUserClient client = VfioUserClient.Connect(liar.Path);
        Assert.Throws<VfioUserException>(() => client.ReadRegion(0, 0, new byte[4]));
        Assert.Equal(Errno.EFAULT, liar.AnswerToDmaRead);
    }

    private static void Put(byte[] p, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(p.AsSpan(at), value);

    private static void Put64(byte[] p, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(p.AsSpan(at), value);

    /// <summary>Answers version and device info rightly, one command with given bytes (null: closes), and nothing else.</summary>
    private sealed class Liar : IDisposable
    {
        private readonly string _directory = Directory.CreateTempSubdirectory("vhost-").FullName;
        private readonly UnixSocket _listener = UnixSocket.Create();
        private readonly EventFd _stop = EventFd.Create();
        private readonly Thread _thread;

        public Liar(VfioUserCommand command, byte[]? reply, bool askForMemory = false)
        {
            Path = System.IO.Path.Combine(_directory, "liar.sock");
            _listener.BindAndListen(Path);
            _thread = new Thread(() => Run(command, reply, askForMemory));
            _thread.Start();
        }

        public string Path { get; }

        public int AnswerToDmaRead { get; private set; }

        public void Dispose()
        {
            _stop.Signal();
            _thread.Join();
            _listener.Dispose();
            _stop.Dispose();
            Directory.Delete(_directory, recursive: true);
        }

        private void Run(VfioUserCommand lie, byte[]? lyingReply, bool askForMemory)
        {
            if (_listener.WaitReadable(60_000, _stop.Raw) != WaitResult.Ready)
            {
                return;
            }

            using UnixSocket socket = _listener.Accept()!;
            using var channel = new VfioUserChannel(socket, _stop, new VfioUserLimits(1 << 20, 8, 5000));
            try
            {
                while (channel.Receive() is { } message)
                {
                    using (message)
                    {
                        byte[]? reply = message.Header.Command == lie ? lyingReply
                            : message.Header.Command == VfioUserCommand.Version ? new VfioUserCapabilities().Encode(1)
                            : [16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0];
                        if (reply is null)
                        {
                            if (askForMemory)
                            {
                                byte[] where = new byte[16];
                                Put64(where, 8, 64);
                                AnswerToDmaRead = Assert.Throws<VfioUserException>(() => channel.Request(VfioUserCommand.DmaRead, where)).Error;
                            }

                            return;
                        }

                        channel.Send(message.Header.ToReply(reply.Length), reply);
                    }
                }
            }
            catch (VfioUserException)
            {
                // The client has gone.
            }
        }
    }
}
