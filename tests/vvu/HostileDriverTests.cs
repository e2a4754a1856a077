using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Pci;
using Vhost.Testing.FrontEnd;
using Vhost.VfioUser;
using Vhost.VhostUser;
using Vhost.VvuDevice;
using DrivenDevice = Vhost.Plugins.VvuTransport.VvuDevice;

namespace Vhost.Vvu.Tests;

/// <summary>A driver that writes anything anywhere, and one that sends anything: the device stays, the other VM's next session works.</summary>
public sealed class HostileDriverTests
{
    private static readonly ulong[] Values = [0, 1, 2, 4, 5, 0x40, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x8000_0000, ulong.MaxValue, 0x1234_5678_9abc_def0];

    [Theory]
    [InlineData("capabilities", 1)]
    [InlineData("capabilities", 2)]
    [InlineData("fixed", 3)]
    public async Task Any_value_of_any_width_in_any_register_is_survived(string layout, int seed)
    {
        await using var harness = new VvuHarness(layout);
        using var connection = harness.ConnectRaw();
        using (var client = VfioUserClient.Connect(harness.VfioUserSocket))
        {
            // Every register of the configuration space and of the virtio structures, one after the other.
            var data = new byte[8];
            foreach (var (region, length) in new[] { (VfioUserRegions.Config, 256), (4, 0x60), (4, 0x1010), (4, 0x2020), (4, 0x3010), (1, 0x40), (2, 0x40), (0, 0x20) })
            {
                for (var offset = Math.Max(0, length - 0x60) & ~0xfff; offset < length; offset++)
                {
                    foreach (var width in (int[])[1, 2, 4, 8])
                    {
                        BitConverter.TryWriteBytes(data, Values[(offset + width + seed) % Values.Length]);
                        Try(() => client.WriteRegion(region, (ulong)offset, data.AsSpan(0, width)));
                        Try(() => client.ReadRegion(region, (ulong)offset, data.AsSpan(0, width)));
                    }
                }
            }

            // And in any order, at the edges too.
            var random = new Random(seed);
            ulong[] lengths = [TrackingMemory.BarBytes, 0x8000, DeviceLayout.MemoryBarBytes, 0, DeviceLayout.VirtioBarBytes];
            ulong[] places = [0, 0x1000, 0x1ff8, 0x2000, 0x2002, 0x3000, ComputeMemory.FileOffset - 4, ComputeMemory.FileOffset + (16 << 20) - 4];
            for (var i = 0; i < 4000; i++)
            {
                var region = random.Next(5);
                var offset = random.Next(4) switch
                {
                    0 => lengths[region] - (ulong)random.Next(1, 16),
                    1 => places[random.Next(places.Length)] + (ulong)random.Next(8),
                    2 => (ulong)random.NextInt64(),
                    _ => (ulong)random.Next(0x4000),
                };
                BitConverter.TryWriteBytes(data, Values[random.Next(Values.Length)]);
                var width = 1 << random.Next(4);
                Try(() => client.WriteRegion(region, offset, data.AsSpan(0, width)));
                Try(() => client.ReadRegion(region, offset, data.AsSpan(0, width)));
            }

            // The device still answers.
            client.ReadRegion(VfioUserRegions.Config, 0, data.AsSpan(0, 2));
            Assert.Equal(0x1af4, BitConverter.ToUInt16(data));
        }

        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        connection.Dispose();
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, 4096).BlockCount);
    }

    [Theory]
    [InlineData(0, 0ul, 9)]
    [InlineData(4, 0x4000ul, 4)]
    [InlineData(4, 0x3ffeul, 4)]
    [InlineData(2, 1ul << 36, 2)]
    [InlineData(2, ulong.MaxValue - 1, 4)]
    [InlineData(3, 0ul, 4)]
    [InlineData(7, 0xfeul, 4)]
    [InlineData(9, 0ul, 4)]
    public async Task Accesses_outside_of_the_device_are_refused(int region, ulong offset, int width)
    {
        await using var harness = new VvuHarness();
        using var client = VfioUserClient.Connect(harness.VfioUserSocket);
        var data = new byte[width];
        if (width != 9)
        {
            Assert.ThrowsAny<Exception>(() => client.ReadRegion(region, offset, data));
            Assert.ThrowsAny<Exception>(() => client.WriteRegion(region, offset, data));
        }

        // And what lies inside works on.
        client.ReadRegion(VfioUserRegions.Config, 0, data);
        Assert.Equal(0x1af4, BitConverter.ToUInt16(data));
    }

    [Theory]
    [InlineData("empty")]
    [InlineData("half a header")]
    [InlineData("wrong version")]
    [InlineData("announces more than there is")]
    [InlineData("announces less than there is")]
    [InlineData("announces 4 GiB")]
    [InlineData("a request that wants to be acknowledged")]
    [InlineData("in-flight area too long")]
    [InlineData("longer than any message")]
    public async Task A_wrong_message_of_the_driver_ends_the_connection_with_a_reason(string kind)
    {
        await using var harness = new VvuHarness();
        using (var device = new DrivenDevice(PciDeviceOpener.Shared.Open(harness.VfioUserSocket, NullLogger.Instance), 8))
        {
            device.WriteStatus(1);
            using var connection = harness.ConnectRaw();
            await VvuHarness.WaitForAsync(() => device.ReadStatus() == 3, "the connection");
            var header = new byte[MessageHeader.LengthBytes];
            var payload = Array.Empty<byte>();
            switch (kind)
            {
                case "empty":
                    header = [];
                    break;
                case "half a header":
                    header = header[..6];
                    break;
                case "wrong version":
                    new MessageHeader(1, 2 | MessageHeader.ReplyFlag, 0).Write(header);
                    break;
                case "announces more than there is":
                    new MessageHeader(1, MessageHeader.Version | MessageHeader.ReplyFlag, 16).Write(header);
                    payload = new byte[8];
                    break;
                case "announces less than there is":
                    new MessageHeader(1, MessageHeader.Version | MessageHeader.ReplyFlag, 4).Write(header);
                    payload = new byte[8];
                    break;
                case "announces 4 GiB":
                    new MessageHeader(1, MessageHeader.Version | MessageHeader.ReplyFlag, uint.MaxValue).Write(header);
                    break;
                case "a request that wants to be acknowledged":
                    new MessageHeader(2, MessageHeader.Version | MessageHeader.NeedReplyFlag, 0).Write(header);
                    break;
                case "in-flight area too long":
                    payload = new byte[24];
                    new SharedAreaDescription(1UL << 40, 0, 8, 1024).WriteInFlight(payload);
                    new MessageHeader((uint)FrontEndRequest.GetInFlightFd, MessageHeader.Version | MessageHeader.ReplyFlag, 24).Write(header);
                    break;
                case "longer than any message":
                    payload = new byte[2000];
                    new MessageHeader(1, MessageHeader.Version | MessageHeader.ReplyFlag, uint.MaxValue >> 1).Write(header);
                    break;
            }

            Assert.True(device.Send.TrySend(header, payload));
            connection.TimeoutMilliseconds = 60_000;
            connection.WaitClosed();
            await VvuHarness.WaitForAsync(() => harness.DeviceLines.Any(line => line.Contains("closed:", StringComparison.Ordinal)), "the reason");
        }

        await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, 4096).BlockCount);
    }

    [Fact]
    public async Task Memory_that_is_not_mapped_though_it_could_be_is_told_of_once_with_the_remedy()
    {
        await using var harness = new VvuHarness();
        using (var client = VfioUserClient.Connect(harness.VfioUserSocket))
        {
            Trap(client);
            Trap(client);
        }

        Assert.Contains("did not map it", Assert.Single(harness.DeviceLines, IsSlow), StringComparison.Ordinal);

        // The same behind a line that interrupted: a driver without MSI-X, and the other VM that connects.
        using (var client = VfioUserClient.Connect(harness.VfioUserSocket))
        {
            SetStatus(client, 3);
            client.WriteRegion(4, 8, BitConverter.GetBytes(1));
            client.WriteRegion(4, 12, BitConverter.GetBytes(1));
            SetStatus(client, 11);
            SetStatus(client, 15);
            client.WriteRegion(4, 0x2000, BitConverter.GetBytes(1));
            using var connection = harness.ConnectRaw();
            var isr = new byte[1];
            await VvuHarness.WaitForAsync(
                () =>
                {
                    client.ReadRegion(4, 0x1000, isr);
                    return isr[0] != 0;
                },
                "the interrupt");
            Trap(client);
        }

        Assert.Contains(harness.DeviceLines, line => IsSlow(line) && line.Contains("--no-interrupt-line", StringComparison.Ordinal));
        Assert.Equal(2, harness.DeviceLines.Count(IsSlow));

        static bool IsSlow(string line) => line.Contains("by 1000 messages", StringComparison.Ordinal);

        static void SetStatus(VfioUserClient client, byte status) => client.WriteRegion(4, 0x14, [status]);

        static void Trap(VfioUserClient client)
        {
            var data = new byte[4];
            for (var i = 0; i < 1000; i++)
            {
                client.ReadRegion(2, ComputeMemory.FileOffset + (ulong)(4 * i), data);
            }
        }
    }

    private static void Try(Action access)
    {
        try
        {
            access();
        }
        catch (Exception exception) when (exception is VfioUserException or ArgumentException)
        {
            // Refused.
        }
    }
}
