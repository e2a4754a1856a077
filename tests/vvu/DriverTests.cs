using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Linux;
using Vhost.Pci;
using Vhost.Plugins.VvuTransport;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;
using Vhost.VirtioPci;
using DrivenDevice = Vhost.Plugins.VvuTransport.VvuDevice;

namespace Vhost.Vvu.Tests;

/// <summary>The device from the driver's side: the contract of the published devices, and drivers that break rules.</summary>
public sealed class DriverTests
{
    public enum Bad
    {
        AvailableIndexAhead,
        HeadPastTable,
        NextPastTable,
        Loop,
        Indirect,
        WritableInSend,
        ReadOnlyInReceive,
        ReceiveTooShort,
        BufferNowhere,
        RingNowhere,
        RingMisaligned,
        UnknownStatusBit,
    }

    public static TheoryData<Bad> BadCases() => [.. Enum.GetValues<Bad>()];

    [Fact]
    public async Task Kicks_are_polled_for_with_the_device_of_2018()
    {
        await using var harness = new VvuHarness("fixed", isPublished: true);
        using var device = Open(harness);
        using var connection = Connect(harness, device);
        using var kick = EventFd.Create();
        connection.TellNumber(FrontEndRequest.SetVringKick, 3, kick.Raw);
        var message = Receive(device);
        Assert.Equal(FrontEndRequest.SetVringKick, message.Request);
        Assert.Equal(3ul | 0x100, BitConverter.ToUInt64(message.Payload.Span));
        Assert.Equal(-1, device.EnableKick(3));
    }

    [Fact]
    public async Task Kicks_raise_the_vector_that_the_driver_gave_them()
    {
        await using var harness = new VvuHarness(isPublished: true);
        using var device = Open(harness);
        using var connection = Connect(harness, device);
        using var kick = EventFd.Create();
        connection.TellNumber(FrontEndRequest.SetVringKick, 3, kick.Raw);
        Assert.Equal(3ul, BitConverter.ToUInt64(Receive(device).Payload.Span));
        var vector = device.EnableKick(3);
        Assert.NotEqual(-1, vector);
        Assert.False(Poll.WaitReadable(vector, 0));
        kick.Signal();
        Assert.True(Poll.WaitReadable(vector, 60_000));

        // A disconnect takes the vector away.
        EventFd.DrainRaw(vector);
        connection.Dispose();
        await VvuHarness.WaitForAsync(() => device.ReadStatus() == 0, "the status");
        using var registers = new PlainRegisters(device);
        Assert.Equal(0xffff, registers.KickVector(3));
    }

    [Fact]
    public async Task Doorbells_interrupt_the_other_VM_by_eventfd_and_by_message()
    {
        await using var harness = new VvuHarness();
        using var device = Open(harness);
        using var connection = Connect(harness, device);
        foreach (var queue in (int[])[2, 200])
        {
            using var call = EventFd.Create();
            connection.TellNumber(FrontEndRequest.SetVringCall, (ulong)queue, call.Raw);
            Receive(device);
            Assert.False(Poll.WaitReadable(call.Raw, 0));
            device.Layout.DoorbellBar.Write16(device.DoorbellOffset(queue)!.Value, 1);
            Assert.True(Poll.WaitReadable(call.Raw, 60_000), $"queue {queue}");
        }
    }

    [Fact]
    public async Task Status_tells_who_is_there()
    {
        await using var harness = new VvuHarness(isPublished: true);
        using var device = Open(harness);
        Assert.Equal(0u, device.ReadStatus());
        device.WriteStatus(1);
        Assert.Equal(1u, device.ReadStatus());
        var connection = harness.ConnectRaw();
        Assert.True(Poll.WaitReadable(device.Vectors[0], 60_000), "no interrupt for the connection");
        Assert.Equal(3u, device.ReadStatus());
        EventFd.DrainRaw(device.Vectors[0]);
        connection.Dispose();
        Assert.True(Poll.WaitReadable(device.Vectors[0], 60_000), "no interrupt for the end");
        Assert.Equal(0u, device.ReadStatus());

        // The other VM may come first.
        using var second = harness.ConnectRaw();
        await VvuHarness.WaitForAsync(() => harness.DeviceLines.Count(line => line.Contains("has connected", StringComparison.Ordinal)) == 2, "the connection");
        Assert.Equal(0u, device.ReadStatus());
        device.WriteStatus(1);
        Assert.Equal(3u, device.ReadStatus());

        // A published device keeps the connection when the driver goes down.
        device.WriteStatus(0);
        Assert.Equal(0u, device.ReadStatus());
        device.WriteStatus(1);
        Assert.Equal(3u, device.ReadStatus());
    }

    [Fact]
    public async Task Requests_of_the_back_end_pass_where_the_device_forwards_fully()
    {
        await using var harness = new VvuHarness();
        using var device = Open(harness);
        using var connection = Connect(harness, device);
        var (mine, theirs) = UnixSocket.CreatePair();
        using var channel = new FrontEndConnection(mine);
        using (theirs)
        {
            connection.Tell(FrontEndRequest.SetBackendRequestFd, [], theirs.Raw);
        }

        Assert.Equal(FrontEndRequest.SetBackendRequestFd, Receive(device).Request);
        Span<byte> header = new byte[MessageHeader.LengthBytes];
        new MessageHeader((uint)BackendRequest.ConfigChanged, MessageHeader.Version, 0).Write(header);
        Assert.True(device.Send.TrySend(header, []));
        using var request = channel.Receive();
        Assert.Equal((uint)BackendRequest.ConfigChanged, request.Header.Request);
    }

    [Fact]
    public async Task A_message_without_the_reply_flag_ends_the_connection_of_a_published_device()
    {
        await using var harness = new VvuHarness(isPublished: true);
        using var device = Open(harness);
        using var connection = Connect(harness, device);
        Span<byte> header = new byte[MessageHeader.LengthBytes];
        new MessageHeader(2, MessageHeader.Version, 0).Write(header);
        Assert.True(device.Send.TrySend(header, []));
        connection.WaitClosed();
        Assert.Equal(0u, device.ReadStatus());
    }

    [Fact]
    public async Task The_device_offers_no_protocol_feature_that_it_does_not_carry()
    {
        foreach (var (isPublished, expected) in new[] { (true, 0x3ul), (false, 0x1b22bul) })
        {
            await using var harness = new VvuHarness(isPublished: isPublished);
            using var device = Open(harness);
            using var connection = Connect(harness, device);
            connection.Send(FrontEndRequest.GetProtocolFeatures, []);
            Receive(device);
            Span<byte> header = new byte[MessageHeader.LengthBytes];
            new MessageHeader((uint)FrontEndRequest.GetProtocolFeatures, MessageHeader.Version | MessageHeader.ReplyFlag, 8).Write(header);
            Assert.True(device.Send.TrySend(header, BitConverter.GetBytes(ulong.MaxValue)));
            using var reply = connection.Receive();
            Assert.Equal(expected, reply.ReadNumber());
        }
    }

    [Theory]
    [MemberData(nameof(BadCases))]
    public async Task A_driver_that_breaks_a_ring_stops_the_device_until_it_is_reset(Bad bad)
    {
        await using var harness = new VvuHarness();
        using (var pci = PciDeviceOpener.Shared.Open(harness.VfioUserSocket, NullLogger.Instance))
        using (var driver = new PlainDriver(pci))
        {
            driver.Break(bad, harness);
            await VvuHarness.WaitForAsync(() => driver.NeedsReset, "the device to ask for a reset");
            Assert.Contains(harness.DeviceLines, line => line.Contains("broke the device", StringComparison.Ordinal));
            driver.Virtio.Reset();
        }

        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, 4096).BlockCount);
    }

    private static DrivenDevice Open(VvuHarness harness) => new(PciDeviceOpener.Shared.Open(harness.VfioUserSocket, NullLogger.Instance), 8);

    private static FrontEndConnection Connect(VvuHarness harness, DrivenDevice device)
    {
        device.WriteStatus(1);
        var connection = harness.ConnectRaw();
        Assert.True(SpinWait.SpinUntil(() => device.ReadStatus() == 3, 60_000));
        return connection;
    }

    private static VhostUserMessage Receive(DrivenDevice device)
    {
        var buffer = new byte[MessageQueue.BufferBytes];
        var length = 0;
        Assert.True(SpinWait.SpinUntil(() => device.Receive.TryReceive(buffer, out length), 60_000), "no message came");
        return new VhostUserMessage(MessageHeader.Read(buffer), buffer.AsMemory(MessageHeader.LengthBytes, length - MessageHeader.LengthBytes), []);
    }

    private sealed class PlainRegisters(DrivenDevice device) : IDisposable
    {
        public ushort KickVector(ushort queue)
        {
            var bar = device.Layout.NotificationBar!;
            bar.Write16(device.Layout.NotificationOffsetBytes, queue);
            return bar.Read16(device.Layout.NotificationOffsetBytes + 2);
        }

        public void Dispose()
        {
        }
    }

    /// <summary>A driver that writes its rings byte by byte, right or wrong.</summary>
    private sealed unsafe class PlainDriver : IDisposable
    {
        private const int Size = 16;
        private const int Available = 1024;
        private const int Used = 2048;
        private const int Buffer = 8192;
        private const int QueueBytes = 4096;
        private readonly DmaMemory _memory;
        private readonly VirtioPciQueue[] _queues = new VirtioPciQueue[2];

        public PlainDriver(IPciDevice pci)
        {
            Virtio = new VirtioPciDevice(pci);
            Virtio.Negotiate(1);
            _memory = pci.Dma.Allocate(16384, isContiguous: true);
            new Span<byte>((void*)_memory.Address, 16384).Clear();
        }

        public VirtioPciDevice Virtio { get; }

        public bool NeedsReset => ((byte)Virtio.Status & 0x40) != 0;

        public void Break(Bad bad, VvuHarness harness)
        {
            for (var i = 0; i < 2; i++)
            {
                var iova = _memory.Iova + (ulong)(i * QueueBytes);
                iova = bad switch { Bad.RingNowhere => 0x7_0000_0000, Bad.RingMisaligned => iova + 1, _ => iova };
                _queues[i] = Virtio.EnableQueue(i, Size, iova, iova + Available, iova + Used, VirtioPciDevice.NoVector);
            }

            Virtio.SetDriverOk();
            var data = _memory.Iova + Buffer;
            var isReceive = bad is Bad.ReadOnlyInReceive or Bad.ReceiveTooShort;
            var queue = isReceive ? 0 : 1;
            switch (bad)
            {
                case Bad.AvailableIndexAhead:
                    Offer(queue, 0, 500);
                    break;
                case Bad.HeadPastTable:
                    Offer(queue, 99, 1);
                    break;
                case Bad.NextPastTable:
                    Describe(queue, 0, data, 12, 1, 77);
                    Offer(queue, 0, 1);
                    break;
                case Bad.Loop:
                    Describe(queue, 0, data, 0, 1, 1);
                    Describe(queue, 1, data, 0, 1, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.Indirect:
                    Describe(queue, 0, data, 16, 4, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.WritableInSend:
                    Describe(queue, 0, data, 12, 2, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.BufferNowhere:
                    Describe(queue, 0, 0x6_0000_0000, 12, 0, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.ReadOnlyInReceive:
                    Describe(queue, 0, data, 2048, 0, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.ReceiveTooShort:
                    Describe(queue, 0, data, 11, 2, 0);
                    Offer(queue, 0, 1);
                    break;
                case Bad.UnknownStatusBit:
                    Virtio.WriteDeviceConfig32(0, 5);
                    return;
            }

            if (isReceive)
            {
                Virtio.WriteDeviceConfig32(0, 1);
                using var connection = harness.ConnectRaw();
                connection.Send(FrontEndRequest.GetFeatures, []);
                Assert.True(SpinWait.SpinUntil(() => NeedsReset, 60_000), "the device took it");
                return;
            }

            _queues[queue].Notify();
        }

        public void Dispose() => _memory.Dispose();

        private void Describe(int queue, int index, ulong address, uint length, ushort flags, ushort next)
        {
            var descriptor = (byte*)_memory.Address + (queue * QueueBytes) + (index * 16);
            *(ulong*)descriptor = address;
            *(uint*)(descriptor + 8) = length;
            *(ushort*)(descriptor + 12) = flags;
            *(ushort*)(descriptor + 14) = next;
        }

        private void Offer(int queue, ushort head, ushort index)
        {
            var ring = (byte*)_memory.Address + (queue * QueueBytes) + Available;
            *(ushort*)(ring + 4) = head;
            Volatile.Write(ref *(ushort*)(ring + 2), index);
        }
    }
}
